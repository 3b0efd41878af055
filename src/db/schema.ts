import type { ColumnType, Generated, JSONColumnType } from 'kysely'
import type {
  ChallengeFailureReason,
  ChallengeStatus,
  Channel,
  Choice,
  DeliveryStatus,
  PassedOver,
} from '../domain/challenge.ts'
import type { KeyPurpose } from '../domain/keys.ts'
import type { Route } from '../domain/routing.ts'
import type { SignatureStatus, TimelineEventType } from '../domain/signature.ts'

/** The tables as the migrations leave them. */
export interface Schema {
  routing_table: RoutingTableTable
  provider_switch: ProviderSwitchTable
  signature: SignatureTable
  signature_provider: SignatureProviderTable
  idempotency_key: IdempotencyKeyTable
  challenge: ChallengeTable
  attempt: AttemptTable
  timeline: TimelineTable
  receipt: ReceiptTable
  key_check: KeyCheckTable
}

interface RoutingTableTable {
  version: number
  author: string
  reason: string
  published_at: Generated<Date>
  routes: ColumnType<Route[], string, never>
}

/** What operators have set for providers; the latest row of each counts. */
interface ProviderSwitchTable {
  id: Generated<string>
  provider: string
  /** Null: it may be used. */
  paused_until: Date | null
  author: string
  reason: string
  set_at: Generated<Date>
}

interface SignatureTable {
  id: string
  caller: string
  status: SignatureStatus
  customer_hmac: Buffer
  phone_hmac: Buffer
  phone_ciphertext: Buffer
  phone_key_id: string
  phone_masked: string
  /** ISO 3166-1 alpha-2 of the phone number; null where it has none, and for signatures from before this was stored. */
  country: string | null
  push_token_ciphertext: Buffer | null
  push_token_key_id: string | null
  requested_channel: Channel | null
  customer_segment: string
  locale: string
  amount: string
  currency: string
  payee_name: string
  payee_account: string
  transaction_type: string
  reference: string
  transaction_digest: Buffer
  created_at: Date
  expires_at: Date
  completed_at: Date | null
}

/** The providers used for each signature. Triggers write it, and only lists read it. */
interface SignatureProviderTable {
  signature_id: string
  provider: string
  /** As in the signature. */
  caller: string
  status: SignatureStatus
  created_at: Date
  expires_at: Date
}

interface IdempotencyKeyTable {
  caller: string
  key: string
  fingerprint: Buffer
  signature_id: string
  created_at: Generated<Date>
}

interface ChallengeTable {
  id: string
  signature_id: string
  channel: Channel
  provider: string
  /** The row that matched. */
  route: JSONColumnType<Route>
  /** Null for challenges from before the table had versions. */
  routing_table_version: number | null
  /** Why it was this provider; null for challenges from before routes had several. */
  choice: Choice | null
  /** The providers that came before it in order. */
  passed_over: JSONColumnType<PassedOver[]>
  status: ChallengeStatus
  /** Null until a delivery has ended. */
  delivery_status: DeliveryStatus | null
  /** Until then the delivering process counts as alive; null once it has recorded the outcome. */
  lease_expires_at: Date | null
  provider_challenge_id: string | null
  provider_proof: ColumnType<object | null, string | undefined, string>
  tries_used: Generated<number>
  max_tries: number
  failure_reason: ChallengeFailureReason | null
  provider_error_code: string | null
  /** The vendor's word in the receipt that moved delivery_status last, its code, and when it came. */
  vendor_status: string | null
  delivery_error_code: string | null
  delivery_reported_at: Date | null
  /** When a receipt counts as missing; null once one came, was missed, or where none is asked for. */
  receipt_due_at: Date | null
  /**
   * When any process may put another challenge in the place of this one, while it is open: its message did not arrive, or
   * no caller waits for it and its process may have died before it called a provider. Null: never.
   */
  fallback_due_at: Date | null
  created_at: Date
  sent_at: Date | null
  code_hmac: Buffer
  code_key_id: string
  expires_at: Date
}

interface AttemptTable {
  challenge_id: string
  /** 1 for the first call of the challenge's delivery. */
  number: number
  /** Null until the delivery is recorded, and for ever when its process died before. */
  outcome: string | null
  provider_error_code: string | null
  started_at: Date
  ended_at: Date | null
  /** The provider's answer, sealed, as JSON: {"response": KeptAnswer}. Null where it did not take the message. */
  exchange_ciphertext: Buffer | null
  exchange_key_id: string | null
}

/** What a vendor reported, and its proof of being the vendor. */
interface ReceiptTable {
  id: Generated<string>
  challenge_id: string
  /** Which call of the challenge's delivery it is about. */
  attempt: number
  provider_challenge_id: string
  vendor_status: string
  provider_error_code: string | null
  /** The body as it came, sealed: it names the phone number. */
  body_ciphertext: Buffer
  body_key_id: string
  signature: string
  /** Which of our keys the signature was made with. */
  key_name: string
  received_at: Generated<Date>
}

interface TimelineTable {
  signature_id: string
  position: number
  created_at: Generated<Date>
  type: TimelineEventType
  challenge_id: string | null
  details: JSONColumnType<Record<string, string>>
}

/** Identifies the key of an id without holding it. Written by the first replica that has the key. */
interface KeyCheckTable {
  purpose: KeyPurpose
  key_id: string
  value: Buffer
  created_at: Generated<Date>
}
