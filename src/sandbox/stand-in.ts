import { startSandbox } from './sandbox.ts'
import { createSandboxAccounts } from './sandbox-accounts.ts'

/** A sandbox in the place of all vendors, with credentials that only this process knows and where they are used. */
export async function openStandIn(listen: { host: string; port: number }) {
  const { twilio, vonage, fcm } = await createSandboxAccounts()
  const sandbox = await startSandbox({ ...listen, twilio, vonage, fcm })
  const apiUrl = sandbox.url
  return {
    url: apiUrl,
    // The service's own listener is at the same address.
    webhookUrl: apiUrl.replace(/:\d+$/, ':0'),
    twilio: { ...twilio, previousAuthToken: undefined, apiKey: undefined, voiceFrom: twilio.fromNumber, apiUrl },
    vonage: { ...vonage, apiUrl },
    fcm: {
      credentials: { type: 'service_account' as const, ...fcm, tokenUri: `${apiUrl}/token` },
      projectId: fcm.projectId,
      apiUrl,
    },
    [Symbol.asyncDispose]: () => sandbox[Symbol.asyncDispose](),
  }
}
