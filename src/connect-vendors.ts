import type { Config } from './config.ts'
import type { SignatureProvider } from './providers/provider.ts'
import { createProviders, createReceiptReaders, type Vendors } from './providers/providers.ts'
import type { ReceiptReader, WebhookUrl } from './providers/receipt-reader.ts'
import type { TwilioVoiceConfig } from './providers/twilio/twilio-voice.ts'
import { openStandIn } from './sandbox/stand-in.ts'
import type { Secrets } from './secrets/secrets.ts'
import type { Logger } from './telemetry/logger.ts'

/** The vendors of a running service. Disposing stops the sandbox, where that stands in for them. */
export interface ConnectedVendors extends AsyncDisposable {
  /** By name. Another map after each {@link follow}, with the same names: look at each use. */
  readonly providers: ReadonlyMap<string, SignatureProvider>
  /** Another list after each {@link follow}. */
  readonly receiptReaders: readonly ReceiptReader[]
  /** Where the sandbox listens; undefined with credentials of a real vendor. */
  readonly sandboxUrl: string | undefined
  /** Calls the vendors with these secrets from now on. */
  follow(secrets: Secrets): void
}

interface Surroundings {
  /** The port that our webhooks are on. */
  httpPort: number
  /** For personal data, as they are at each call. */
  piiKeys: TwilioVoiceConfig['piiKeys']
  clock: () => Date
  log: Logger
}

/**
 * Makes the providers and receipt readers of every vendor that `config` has credentials of, or starts the sandbox in the
 * place of all when there are none. Rejects when the sandbox can't have its port.
 */
export async function connectVendors(config: Config, surroundings: Surroundings): Promise<ConnectedVendors> {
  const { httpPort, log } = surroundings
  const sandbox =
    config.twilio || config.vonage || config.fcm
      ? undefined
      : await openStandIn({ serviceHost: config.host, port: config.sandboxPort })
  const publicUrl = publicWebhookUrl(config.publicWebhookUrl ?? sandbox?.webhookUrl, httpPort)

  const connect = (secrets: Secrets) => {
    const vendors = vendorsOf(config, sandbox ?? secrets, publicUrl, surroundings)
    const receiptReaders = publicUrl === undefined ? [] : createReceiptReaders(vendors, publicUrl)
    return { providers: createProviders(vendors), receiptReaders }
  }
  let current = connect(config)
  if (config.twilio && publicUrl === undefined) {
    log.warn(
      'there is no twilio-voice without PUBLIC_WEBHOOK_URL: Twilio comes there for the code when the key is pressed',
    )
  }

  return {
    get providers() {
      return current.providers
    },
    get receiptReaders() {
      return current.receiptReaders
    },
    sandboxUrl: sandbox?.url,
    follow(secrets) {
      current = connect(secrets)
    },
    async [Symbol.asyncDispose]() {
      await sandbox?.[Symbol.asyncDispose]()
    },
  }
}

/** Where vendors reach our webhooks. Port 0 in `configured` stands for the port that the HTTP listener got. */
function publicWebhookUrl(configured: string | undefined, httpPort: number): string | undefined {
  return configured?.replace(/:0(?=\/|$)/, `:${httpPort}`)
}

function vendorsOf(
  { twilioTimeoutMs, vonageTimeoutMs, fcmTimeoutMs }: Config,
  { twilio, vonage, fcm }: Pick<Config, 'twilio' | 'vonage' | 'fcm'>,
  publicUrl: string | undefined,
  { clock, piiKeys }: Surroundings,
): Vendors {
  const webhookUrl: WebhookUrl | undefined =
    publicUrl === undefined
      ? undefined
      : (path, { challengeId, attempt, spokenCode }) =>
          `${publicUrl}${path}?challenge=${challengeId}&attempt=${attempt}${spokenCode ? `&code=${spokenCode}` : ''}`
  return {
    twilio: twilio && { ...twilio, timeoutMs: twilioTimeoutMs, clock, webhookUrl, piiKeys },
    vonage: vonage && { ...vonage, timeoutMs: vonageTimeoutMs, clock, webhookUrl },
    fcm: fcm && { ...fcm, timeoutMs: fcmTimeoutMs, clock },
  }
}
