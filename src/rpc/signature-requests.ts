import { validate as isUuid } from 'uuid'
import {
  AbortReason,
  type AbortSignatureRequest,
  type CompleteSignatureRequest,
  type ListSignaturesRequest,
  type ResendChallengeRequest,
  SignatureStatus,
  type StartSignatureRequest,
  type WatchSignatureRequest,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Signature } from '../domain/signature.ts'
import type { AbortSignature } from '../usecases/abort-signature.ts'
import type { CompleteSignature } from '../usecases/complete-signature.ts'
import type { ListSignatures } from '../usecases/list-signatures.ts'
import type { ResendChallenge } from '../usecases/resend-challenge.ts'
import type { StartSignature } from '../usecases/start-signature.ts'
import type { WatchSignature } from '../usecases/watch-signature.ts'
import { channel, locale, parse, phone, text, transaction, uuid } from './request-fields.ts'
import { timeIn } from './times.ts'

/** Reads a StartSignatureRequest. Throws INVALID_FIELD with every wrong field. */
export function parseStart(request: StartSignatureRequest, caller: string): StartSignature {
  return parse((check) => ({
    caller,
    idempotencyKey: text(check, 'idempotency_key', request.idempotencyKey, 1, 255),
    customerId: text(check, 'customer_id', request.customerId, 1, 128),
    phone: phone(check, request.phoneNumber),
    transaction: transaction(check, request.transaction),
    channel: channel(check, request.channel),
    locale: locale(check, request.locale || 'en'),
    pushToken: text(check, 'push_token', request.pushToken, 0, 4_096) || undefined,
    customerSegment: text(check, 'customer_segment', request.customerSegment, 0, 64),
  }))
}

/** Reads a CompleteSignatureRequest. Throws INVALID_FIELD with every wrong field. */
export function parseComplete(request: CompleteSignatureRequest, caller: string): CompleteSignature {
  return parse((check) => ({
    caller,
    signatureId: uuid(check, 'signature_id', request.signatureId),
    code: check('code', request.code, /^[0-9]{6}$/.test(request.code), 'must be exactly six digits 0 to 9'),
    transaction: transaction(check, request.transaction),
  }))
}

/** Reads a ResendChallengeRequest. Throws INVALID_FIELD with every wrong field. */
export function parseResend(request: ResendChallengeRequest, caller: string): ResendChallenge {
  return parse((check) => ({
    caller,
    signatureId: uuid(check, 'signature_id', request.signatureId),
    idempotencyKey: text(check, 'idempotency_key', request.idempotencyKey, 1, 255),
    channel: channel(check, request.channel),
  }))
}

const ABORT_REASONS = new Map<AbortReason, AbortSignature['reason']>([
  [AbortReason.USER_CANCELLED, 'USER_CANCELLED'],
  [AbortReason.FRAUD_DETECTED, 'FRAUD_DETECTED'],
  [AbortReason.OPERATOR, 'OPERATOR'],
])

/** Reads an AbortSignatureRequest. Throws INVALID_FIELD with every wrong field. */
export function parseAbort({ signatureId, reason }: AbortSignatureRequest, caller: string): AbortSignature {
  return parse((check) => {
    check('reason', reason, ABORT_REASONS.has(reason), 'must be USER_CANCELLED, FRAUD_DETECTED or OPERATOR')
    return {
      caller,
      signatureId: uuid(check, 'signature_id', signatureId),
      reason: ABORT_REASONS.get(reason) ?? 'OPERATOR',
    }
  })
}

/** Reads a WatchSignatureRequest. Throws INVALID_FIELD with every wrong field. */
export function parseWatch({ signatureId, afterPosition }: WatchSignatureRequest, caller: string): WatchSignature {
  return parse((check) => ({
    caller,
    signatureId: uuid(check, 'signature_id', signatureId),
    afterPosition: check('after_position', afterPosition, afterPosition >= 0, 'must not be negative'),
  }))
}

const STATUSES = new Map<SignatureStatus, Signature['status'] | undefined>([
  [SignatureStatus.UNSPECIFIED, undefined],
  [SignatureStatus.PENDING, 'PENDING'],
  [SignatureStatus.SIGNED, 'SIGNED'],
  [SignatureStatus.FAILED, 'FAILED'],
  [SignatureStatus.EXPIRED, 'EXPIRED'],
  [SignatureStatus.ABORTED, 'ABORTED'],
])

/** Reads a ListSignaturesRequest. Throws INVALID_FIELD with every wrong field. */
export function parseList(request: ListSignaturesRequest, caller: string): ListSignatures {
  return parse((check) => {
    const { status, provider, customerId, pageSize, pageToken } = request
    const from = timeIn(check, 'start_time', request.startTime)
    const to = timeIn(check, 'end_time', request.endTime)
    check('status', status, STATUSES.has(status), 'must be a known status, or unspecified')
    check('end_time', to, !from || !to || to > from, 'must be after start_time')
    check('page_size', pageSize, pageSize >= 0 && pageSize <= 100, 'must be 0 to 100')
    if (pageToken !== '') check('page_token', pageToken, isUuid(pageToken), 'must be the next_page_token of a page')
    return {
      caller,
      status: STATUSES.get(status),
      provider: text(check, 'provider', provider, 0, 64) || undefined,
      customerId: text(check, 'customer_id', customerId, 0, 128) || undefined,
      from,
      to,
      pageSize: pageSize || 50,
      after: pageToken || undefined,
    }
  })
}

/** Reads a request that holds an id and nothing else. Throws INVALID_FIELD. */
export function parseId(field: string, id: string): string {
  return parse((check) => uuid(check, field, id))
}
