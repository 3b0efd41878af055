import type { Dialect } from './dialect.ts'

/** A provider of a simulated vendor. */
export interface SimulatedProvider {
  /** What the phone's owner calls such a message. */
  readonly kind: string
  /** The statuses that its receipts may report; none for a vendor that sends no receipts. */
  readonly receiptStatuses: readonly string[]
  /** Returns what the phone shows of a message's body; all of it by default. */
  readonly shows?: (body: string) => string
}

/** A vendor that the sandbox stands in for. */
export interface SimulatedVendor<Account = unknown> {
  /** By name, as the service calls its adapters. */
  readonly providers: Readonly<Record<string, SimulatedProvider>>
  /** Calls that send nothing and yet fail when a fault names them. */
  readonly otherCalls?: readonly string[]
  /** Makes up random credentials. */
  createAccount(): Account | Promise<Account>
  /** The settings under which the service calls a sandbox at `url` that has this account. */
  settings(account: Account, url: string): Record<string, string>
  /** How the vendor answers to this account. */
  dialects(account: Account): Dialect[]
}
