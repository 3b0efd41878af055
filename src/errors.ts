/** Why a call was refused or failed: the reason in google.rpc.ErrorInfo, the same in logs. */
export type ErrorReason =
  | 'INVALID_FIELD'
  | 'SIGNATURE_NOT_FOUND'
  | 'CHALLENGE_NOT_FOUND'
  | 'CODE_REJECTED'
  | 'TRIES_EXHAUSTED'
  | 'SIGNATURE_EXPIRED'
  | 'SIGNATURE_ALREADY_SIGNED'
  | 'SIGNATURE_ABORTED'
  | 'TRANSACTION_MISMATCH'
  | 'DESTINATION_UNREACHABLE'
  | 'NO_ROUTE'
  | 'RESEND_TOO_SOON'
  | 'RESEND_LIMIT'
  | 'POSITION_NOT_FOUND'
  | 'ROUTING_TABLE_NOT_FOUND'
  | 'ROUTING_TABLE_CONFLICT'
  | 'IDEMPOTENCY_KEY_REUSED'
  | 'IDEMPOTENCY_IN_PROGRESS'
  | 'PROVIDER_UNAVAILABLE'
  | 'DEADLINE_TOO_SHORT'
  | 'STORAGE_UNAVAILABLE'
  | 'OVERLOADED'
  | 'SHUTTING_DOWN'

/** One wrong field of a request: its proto path, for example `transaction.amount.currency_code`, and what it must be. */
export interface FieldViolation {
  field: string
  description: string
}

/** More about an {@link AppError}. Callers and logs see it, so it may hold no code, phone number or credential. */
export interface ErrorDetails {
  /** Goes into ErrorInfo's metadata. */
  metadata?: Record<string, string>
  /** For INVALID_FIELD: every wrong field. */
  violations?: FieldViolation[]
  /** How long the caller should wait before it tries again. Becomes the RetryInfo. */
  retryAfterMs?: number
  cause?: unknown
}

/** The contract promises a RetryInfo with these. */
type PassingReason = 'OVERLOADED' | 'RESEND_TOO_SOON' | 'IDEMPOTENCY_IN_PROGRESS'

/** A refusal or failure that the caller is told. Anything else that is thrown is a bug and reaches the caller as INTERNAL. */
export class AppError extends Error {
  override readonly name = 'AppError'
  readonly reason: ErrorReason
  readonly metadata: Record<string, string>
  readonly violations: FieldViolation[]
  readonly retryAfterMs: number | undefined

  constructor(reason: PassingReason, message: string, details: ErrorDetails & { retryAfterMs: number })
  constructor(reason: Exclude<ErrorReason, PassingReason>, message: string, details?: ErrorDetails)
  constructor(reason: ErrorReason, message: string, details: ErrorDetails = {}) {
    super(message, { cause: details.cause })
    this.reason = reason
    this.metadata = details.metadata ?? {}
    this.violations = details.violations ?? []
    this.retryAfterMs = details.retryAfterMs
  }
}

/** Returns the refusal of a call while too many others are under way. Nothing was done for it; the caller waits for 1 s. */
export function overloaded(message: string, cause?: unknown): AppError {
  return new AppError('OVERLOADED', message, { retryAfterMs: 1_000, cause })
}

/** gRPC for Java takes up to 8 KiB of trailers. They hold the details in base64, and the message twice. */
const MAX_TOLD_CHARACTERS = 2_400
const MAX_NAMED_CHARACTERS = 1_200

/** Returns the refusal of a request: its first violations, as many as an error can carry, and how many more there are. */
export function invalidFields(violations: FieldViolation[]): AppError {
  const told = within(violations, MAX_TOLD_CHARACTERS)
  const named = within(violations, MAX_NAMED_CHARACTERS).map(({ field, description }) => `${field} ${description}`)
  const more = (count: number) => (count > 0 ? [`and ${count} more`] : [])
  return new AppError('INVALID_FIELD', [...named, ...more(violations.length - named.length)].join('; '), {
    violations: [...told, ...more(violations.length - told.length).map((description) => ({ field: '', description }))],
  })
}

/** Returns the longest prefix of `violations` that fits into `characters`. */
function within(violations: FieldViolation[], characters: number): FieldViolation[] {
  let left = characters
  const end = violations.findIndex(({ field, description }) => {
    left -= field.length + description.length
    return left < 0
  })
  return end < 0 ? violations : violations.slice(0, end)
}
