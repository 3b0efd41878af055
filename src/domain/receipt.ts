import type { DeliveryStatus } from './challenge.ts'
import type { Sealed } from './sealed.ts'
import type { Transaction } from './transaction.ts'

/** What a vendor reports of a message that it took, checked to be the vendor's word. */
export interface Receipt {
  challengeId: string
  /** Which call of the challenge's delivery it is about; 1 for the first. */
  attempt: number
  provider: string
  /** The vendor's id of the message. */
  providerChallengeId: string
  /** The vendor's own word. */
  vendorStatus: string
  /** What that word means; undefined for one that means nothing to us. */
  deliveryStatus: DeliveryStatus | undefined
  providerErrorCode: string | undefined
  /** The code that the customer asks to hear by it: a key press in a call. */
  spokenCode?: Sealed | undefined
  /** What was signed, the signature (without any plain hash that it holds of that), and which of our keys it was made with. */
  proof: { rawBody: Buffer; signature: string; keyName: string }
}

/** What is said in a call once its customer has asked to hear the code. */
export interface Spoken {
  code: string
  transaction: Transaction
  /** BCP 47. */
  locale: string
}
