import { durationFromMs } from '@bufbuild/protobuf/wkt'
import { Code, ConnectError } from '@connectrpc/connect'
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import type { AppError, ErrorReason } from '../errors.ts'

const DOMAIN = 'signature.bank'

const WIRE: Record<ErrorReason, Code> = {
  INVALID_FIELD: Code.InvalidArgument,
  SIGNATURE_NOT_FOUND: Code.NotFound,
  CHALLENGE_NOT_FOUND: Code.NotFound,
  CODE_REJECTED: Code.FailedPrecondition,
  TRIES_EXHAUSTED: Code.FailedPrecondition,
  SIGNATURE_EXPIRED: Code.FailedPrecondition,
  SIGNATURE_ALREADY_SIGNED: Code.FailedPrecondition,
  SIGNATURE_ABORTED: Code.FailedPrecondition,
  TRANSACTION_MISMATCH: Code.FailedPrecondition,
  DESTINATION_UNREACHABLE: Code.FailedPrecondition,
  NO_ROUTE: Code.FailedPrecondition,
  RESEND_TOO_SOON: Code.FailedPrecondition,
  RESEND_LIMIT: Code.FailedPrecondition,
  POSITION_NOT_FOUND: Code.OutOfRange,
  ROUTING_TABLE_NOT_FOUND: Code.NotFound,
  ROUTING_TABLE_CONFLICT: Code.Aborted,
  IDEMPOTENCY_KEY_REUSED: Code.FailedPrecondition,
  IDEMPOTENCY_IN_PROGRESS: Code.Aborted,
  PROVIDER_UNAVAILABLE: Code.Unavailable,
  DEADLINE_TOO_SHORT: Code.DeadlineExceeded,
  STORAGE_UNAVAILABLE: Code.Unavailable,
  OVERLOADED: Code.Unavailable,
  SHUTTING_DOWN: Code.Unavailable,
}

/** Returns an error as it is sent: its code, an ErrorInfo, a BadRequest for violations, and a RetryInfo for a wait. */
export function toConnectError(error: AppError): ConnectError {
  const { reason, message, metadata, violations, retryAfterMs } = error
  return new ConnectError(message, WIRE[reason], undefined, [
    { desc: ErrorInfoSchema, value: { reason, domain: DOMAIN, metadata } },
    ...(violations.length > 0 ? [{ desc: BadRequestSchema, value: { fieldViolations: violations } }] : []),
    ...(retryAfterMs !== undefined
      ? [{ desc: RetryInfoSchema, value: { retryDelay: durationFromMs(retryAfterMs) } }]
      : []),
  ])
}

/** Returns the error for a bug. It carries nothing but the correlation id, which the log has too. */
export function internalError(correlationId: string): ConnectError {
  const metadata = { correlation_id: correlationId }
  return new ConnectError('internal error', Code.Internal, undefined, [
    { desc: ErrorInfoSchema, value: { reason: 'INTERNAL', domain: DOMAIN, metadata } },
  ])
}
