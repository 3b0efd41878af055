import type { CompleteSignatureRequest, StartSignatureRequest } from '../../gen/bank/signature/v1/signature_pb.ts'
import type { CompleteSignature } from '../usecases/complete-signature.ts'
import type { StartSignature } from '../usecases/start-signature.ts'
import { channel, locale, parse, phone, text, transaction, uuid } from './parse.ts'

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

/** Reads a request that holds an id and nothing else. Throws INVALID_FIELD. */
export function parseId(field: string, id: string): string {
  return parse((check) => uuid(check, field, id))
}
