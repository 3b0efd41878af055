import { fcm } from './fcm/simulated-fcm.ts'
import type { SimulatedProvider, SimulatedVendor } from './simulated-vendor.ts'
import { twilio } from './twilio/simulated-twilio.ts'
import { vonage } from './vonage/simulated-vonage.ts'

/** Every vendor that the sandbox stands in for, by its name. */
const SIMULATED = { twilio, vonage, fcm }

export type Simulated = typeof SIMULATED

/** The name of a provider that the sandbox stands in for. */
export type ProviderName = { [Name in keyof Simulated]: keyof Simulated[Name]['providers'] }[keyof Simulated]

/** The same as entries, where it doesn't matter which vendor it is. */
export const SIMULATED_VENDORS = Object.entries<SimulatedVendor>(SIMULATED)

/** Their providers, by name. */
export const PROVIDERS: ReadonlyMap<string, SimulatedProvider> = new Map(
  SIMULATED_VENDORS.flatMap(([, { providers }]) => Object.entries(providers)),
)

/** Whose next call a fault may wait for: a provider's, or one that sends nothing. */
export const FAULT_TARGETS: readonly string[] = [
  ...PROVIDERS.keys(),
  ...SIMULATED_VENDORS.flatMap(([, { otherCalls = [] }]) => otherCalls),
]
