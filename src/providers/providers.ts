import type { Route } from '../domain/routing.ts'
import { createFcmPush, type FcmPushConfig } from './fcm/fcm-push.ts'
import type { SignatureProvider } from './provider.ts'
import type { ReceiptReader } from './receipt-reader.ts'
import { twilioCallReceipts, twilioKeyPresses, twilioMessageReceipts } from './twilio/twilio-receipts.ts'
import { createTwilioSms, type TwilioSmsConfig } from './twilio/twilio-sms.ts'
import { createTwilioVoice, type TwilioVoiceConfig } from './twilio/twilio-voice.ts'
import { vonageReceipts } from './vonage/vonage-receipts.ts'
import { createVonageSms, type VonageSmsConfig } from './vonage/vonage-sms.ts'

/** The vendors that there are credentials for. */
export interface Vendors {
  twilio: (TwilioSmsConfig & Pick<TwilioVoiceConfig, 'piiKeys'> & { voiceFrom: string | undefined }) | undefined
  vonage: VonageSmsConfig | undefined
  fcm: FcmPushConfig | undefined
}

/** Every provider of these vendors, by name. */
export function createProviders({ twilio, vonage, fcm }: Vendors): Map<string, SignatureProvider> {
  const providers = [
    ...(twilio ? [createTwilioSms(twilio)] : []),
    ...(twilio ? voiceOf(twilio) : []),
    ...(vonage ? [createVonageSms(vonage)] : []),
    ...(fcm ? [createFcmPush(fcm)] : []),
  ]
  return new Map(providers.map((provider) => [provider.name, provider]))
}

/** Calls need a number to come from, and a signed request for the code: an address of ours and the token that Twilio signs with. */
function voiceOf(twilio: NonNullable<Vendors['twilio']>): SignatureProvider[] {
  const { voiceFrom, webhookUrl, authToken } = twilio
  return voiceFrom && webhookUrl && authToken ? [createTwilioVoice({ ...twilio, voiceFrom, webhookUrl })] : []
}

/** Readers for the receipts of these vendors. `publicUrl` is what the vendors are told, without path. */
export function createReceiptReaders({ twilio, vonage }: Vendors, publicUrl: string): ReceiptReader[] {
  const twilioConfig = twilio?.authToken && {
    accountSid: twilio.accountSid,
    authTokens: { current: twilio.authToken, previous: twilio.previousAuthToken ?? '' },
    publicUrl,
  }
  return [
    ...(twilioConfig
      ? [twilioMessageReceipts(twilioConfig), twilioCallReceipts(twilioConfig), twilioKeyPresses(twilioConfig)]
      : []),
    ...(vonage?.signatureSecret ? [vonageReceipts({ ...vonage, signatureSecret: vonage.signatureSecret })] : []),
  ]
}

/** What rows ask for that isn't there, a sentence each. */
export function unknownProviders(
  routes: readonly Route[],
  providers: ReadonlyMap<string, SignatureProvider>,
): string[] {
  const known = [...providers.values()].map(({ name, channel }) => `${name} for ${channel}`).join(', ')
  return routes.flatMap(({ priority, channels }) =>
    channels.flatMap(({ channel, providers: named }) =>
      named
        .filter(({ provider }) => providers.get(provider)?.channel !== channel)
        .map(
          ({ provider }) =>
            `the route with priority ${priority} names "${provider}" for ${channel}; there is only ${known}`,
        ),
    ),
  )
}
