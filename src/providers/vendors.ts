import { fcm } from './fcm/vendor.ts'
import { twilio } from './twilio/vendor.ts'
import type { Vendor } from './vendor.ts'
import { vonage } from './vonage/vendor.ts'

/** Every vendor that the service can call. */
export const VENDORS: readonly Vendor[] = [twilio, vonage, fcm]
