import type { ServiceImpl } from '@connectrpc/connect'
import type { SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Context } from '../context.ts'
import { completeSignature } from '../usecases/complete-signature.ts'
import { getChallenge } from '../usecases/get-challenge.ts'
import { getSignature } from '../usecases/get-signature.ts'
import { startSignature } from '../usecases/start-signature.ts'
import { toChallenge, toSignature } from './messages.ts'
import { noteCall } from './observe.ts'
import { parseComplete, parseId, parseStart } from './parse-request.ts'

/** Until callers are known by their certificates. */
const CALLER = 'anonymous'

/** The contract's service over the use cases. */
export function signatureService(ctx: Context): ServiceImpl<typeof SignatureService> {
  return {
    async startSignature(request, { signal, timeoutMs, values }) {
      const timeLeftMs = timeoutMs() ?? Number.POSITIVE_INFINITY
      const { signature, challenge } = await startSignature(ctx, parseStart(request, CALLER), timeLeftMs, signal)
      noteCall(values, { signature_id: signature.id })
      return { signature: toSignature(signature), challenge: toChallenge(challenge) }
    },
    async getChallenge(request, { values }) {
      const id = parseId('challenge_id', request.challengeId)
      noteCall(values, { challenge_id: id })
      return { challenge: toChallenge(await getChallenge(ctx, CALLER, id)) }
    },
    async completeSignature(request, { values }) {
      const input = parseComplete(request, CALLER)
      noteCall(values, { signature_id: input.signatureId })
      return { signature: toSignature(await completeSignature(ctx, input)) }
    },
    async getSignature(request, { values }) {
      const id = parseId('signature_id', request.signatureId)
      noteCall(values, { signature_id: id })
      return { signature: toSignature(await getSignature(ctx, CALLER, id)) }
    },
  }
}
