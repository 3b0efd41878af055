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

/** More about an {@link AppError}. None of it may hold a code, a phone number or a credential: callers and logs see it. */
export interface ErrorDetails {
  /** Goes into ErrorInfo's metadata. */
  metadata?: Record<string, string>
  /** For INVALID_FIELD: every wrong field. */
  violations?: FieldViolation[]
  /** How long to wait before trying again, where waiting helps. */
  retryAfterMs?: number
  cause?: unknown
}

/** Every refusal and failure that a caller is told of. Anything else that is thrown is a bug and reaches them as INTERNAL. */
export class AppError extends Error {
  override readonly name = 'AppError'
  readonly reason: ErrorReason
  readonly metadata: Record<string, string>
  readonly violations: FieldViolation[]
  readonly retryAfterMs: number | undefined

  constructor(reason: ErrorReason, message: string, details: ErrorDetails = {}) {
    super(message, { cause: details.cause })
    this.reason = reason
    this.metadata = details.metadata ?? {}
    this.violations = details.violations ?? []
    this.retryAfterMs = details.retryAfterMs
  }
}

/** The refusal of a call that came when too much is under way already. Nothing was done; waiting for a second helps. */
export function overloaded(message: string): AppError {
  return new AppError('OVERLOADED', message, { retryAfterMs: 1_000 })
}

/** Trailers carry errors, and gRPC for Java takes no more than 8 KiB of them: all in base64, and the message twice. */
const MAX_TOLD_CHARACTERS = 2_400
const MAX_NAMED_CHARACTERS = 1_200

/** The refusal of a request with these wrong fields: as many as an error can carry, and how many more there are. */
export function invalidFields(violations: FieldViolation[]): AppError {
  const told = within(violations, MAX_TOLD_CHARACTERS)
  const named = within(violations, MAX_NAMED_CHARACTERS).map(({ field, description }) => `${field} ${description}`)
  const more = (count: number) => (count > 0 ? [`and ${count} more`] : [])
  return new AppError('INVALID_FIELD', [...named, ...more(violations.length - named.length)].join('; '), {
    violations: [...told, ...more(violations.length - told.length).map((description) => ({ field: '', description }))],
  })
}

/** The first of them, as many as have so many characters together. */
function within(violations: FieldViolation[], characters: number): FieldViolation[] {
  let left = characters
  const end = violations.findIndex(({ field, description }) => {
    left -= field.length + description.length
    return left < 0
  })
  return end < 0 ? violations : violations.slice(0, end)
}
