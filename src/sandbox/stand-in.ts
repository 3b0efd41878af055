import { isIPv6 } from 'node:net'
import { startSandbox } from './sandbox.ts'
import { createSandboxAccounts } from './sandbox-accounts.ts'

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/
const ANY_ADDRESS = /^(0\.0\.0\.0|::)$/

/**
 * A sandbox in the place of all vendors, with credentials that only this process knows and where they are used. It shows
 * codes to whoever asks, so it listens on loopback, wherever the service does.
 */
export async function openStandIn({ serviceHost, port }: { serviceHost: string; port: number }) {
  const { twilio, vonage, fcm } = await createSandboxAccounts()
  const host = LOOPBACK.test(serviceHost) ? serviceHost : '127.0.0.1'
  const sandbox = await startSandbox({ host, port, twilio, vonage, fcm })
  const webhookHost = ANY_ADDRESS.test(serviceHost) ? host : serviceHost
  const apiUrl = sandbox.url
  return {
    url: apiUrl,
    /** Port 0 is the service's own. */
    webhookUrl: `http://${isIPv6(webhookHost) ? `[${webhookHost}]` : webhookHost}:0`,
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
