import { SIMULATED_VENDORS, type Simulated } from './simulated-vendors.ts'

/** Credentials of every simulated vendor, as a sandbox and the adapters that call it need them. */
export type SandboxAccounts = {
  [Name in keyof Simulated]: Awaited<ReturnType<Simulated[Name]['createAccount']>>
}

/** Makes up random credentials for every vendor. */
export async function createSandboxAccounts(): Promise<SandboxAccounts> {
  const entries = SIMULATED_VENDORS.map(async ([name, vendor]) => [name, await vendor.createAccount()] as const)
  return Object.fromEntries(await Promise.all(entries)) as SandboxAccounts
}

/** The service's settings under which it calls a sandbox at `url` that has these accounts. */
export function sandboxSettings(accounts: SandboxAccounts, url: string): Record<string, string> {
  const byName: Readonly<Record<string, unknown>> = accounts
  const settings = SIMULATED_VENDORS.map(([name, vendor]) => vendor.settings(byName[name], url))
  return Object.assign({}, ...settings)
}
