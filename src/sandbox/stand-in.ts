import { isIPv6 } from 'node:net'
import { startSandbox } from './sandbox.ts'
import { createSandboxAccounts, sandboxSettings } from './sandbox-accounts.ts'

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/
const ANY_ADDRESS = /^(0\.0\.0\.0|::)$/

/**
 * Starts a sandbox in the place of all vendors, with credentials that only this process knows. It shows codes to anyone who
 * asks, so it listens on loopback, wherever the service does. Returns it with the settings that lead the service to it.
 */
export async function openStandIn({ serviceHost, port }: { serviceHost: string; port: number }) {
  const accounts = await createSandboxAccounts()
  const host = LOOPBACK.test(serviceHost) ? serviceHost : '127.0.0.1'
  const sandbox = await startSandbox({ host, port, ...accounts })
  const webhookHost = ANY_ADDRESS.test(serviceHost) ? host : serviceHost
  return {
    url: sandbox.url,
    /** Port 0 is the service's own. */
    webhookUrl: `http://${isIPv6(webhookHost) ? `[${webhookHost}]` : webhookHost}:0`,
    settings: sandboxSettings(accounts, sandbox.url),
    [Symbol.asyncDispose]: () => sandbox[Symbol.asyncDispose](),
  }
}
