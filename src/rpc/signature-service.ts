import { type SignatureService, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Context } from '../context.ts'
import { abortSignature } from '../usecases/abort-signature.ts'
import { completeSignature } from '../usecases/complete-signature.ts'
import { getChallenge } from '../usecases/get-challenge.ts'
import { getSignature } from '../usecases/get-signature.ts'
import { listSignatures } from '../usecases/list-signatures.ts'
import { resendChallenge } from '../usecases/resend-challenge.ts'
import { startSignature } from '../usecases/start-signature.ts'
import { watchSignature } from '../usecases/watch-signature.ts'
import type { FilledService } from './filled.ts'
import { noteCall } from './observe.ts'
import { toChallenge, toSignature, toTimelineEvent } from './signature-messages.ts'
import {
  parseAbort,
  parseComplete,
  parseId,
  parseList,
  parseResend,
  parseStart,
  parseWatch,
} from './signature-requests.ts'

/** Callers are not identified yet. */
const CALLER = 'anonymous'

/** The contract's service over the use cases. */
export function signatureService(ctx: Context): FilledService<typeof SignatureService> {
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
    async resendChallenge(request, { signal, timeoutMs, values }) {
      const input = parseResend(request, CALLER)
      noteCall(values, { signature_id: input.signatureId })
      const { signature, challenge } = await resendChallenge(
        ctx,
        input,
        timeoutMs() ?? Number.POSITIVE_INFINITY,
        signal,
      )
      return { signature: toSignature(signature), challenge: toChallenge(challenge) }
    },
    async abortSignature(request, { values }) {
      const input = parseAbort(request, CALLER)
      noteCall(values, { signature_id: input.signatureId, reason: input.reason })
      return { signature: toSignature(await abortSignature(ctx, input)) }
    },
    async *watchSignature(request, { signal, values }) {
      const input = parseWatch(request, CALLER)
      noteCall(values, { signature_id: input.signatureId })
      for await (const { event, status } of watchSignature(ctx, input, signal)) {
        yield { event: toTimelineEvent(event), status: SignatureStatus[status] }
      }
    },
    async listSignatures(request) {
      const { signatures, next } = await listSignatures(ctx, parseList(request, CALLER))
      return { signatures: signatures.map(toSignature), nextPageToken: next ?? '' }
    },
    async getSignature(request, { values }) {
      const id = parseId('signature_id', request.signatureId)
      noteCall(values, { signature_id: id })
      return { signature: toSignature(await getSignature(ctx, CALLER, id)) }
    },
  }
}
