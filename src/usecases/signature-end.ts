import type { StoredChallenge } from '../db/challenges.ts'
import type { SignatureWithChallenge } from '../db/latest-challenge.ts'
import { AppError } from '../errors.ts'

/** Returns the error for a caller who wants something of a signature that has ended; undefined while it is PENDING. */
export function endOf({ signature, challenge }: SignatureWithChallenge): AppError | undefined {
  const metadata = { signature_id: signature.id }
  switch (signature.status) {
    case 'SIGNED':
      return new AppError('SIGNATURE_ALREADY_SIGNED', 'the signature was signed before', { metadata })
    case 'ABORTED':
      return new AppError('SIGNATURE_ABORTED', 'the signature was aborted', { metadata })
    case 'EXPIRED':
      return new AppError('SIGNATURE_EXPIRED', 'the code is no longer valid', { metadata })
    case 'FAILED':
      return challengeFailure(challenge)
    case 'PENDING':
      return undefined
  }
}

/** Returns the error for a failed challenge: the same at once and at every later call. */
function challengeFailure({ id, signatureId, provider, failure }: StoredChallenge): AppError {
  const metadata = { signature_id: signatureId, challenge_id: id, provider }
  switch (failure?.reason) {
    case 'TRIES_EXHAUSTED':
      return new AppError('TRIES_EXHAUSTED', 'too many wrong codes were submitted', { metadata })
    case 'DESTINATION_UNREACHABLE':
      return new AppError('DESTINATION_UNREACHABLE', 'the code can not be delivered to this phone number', {
        metadata: { ...metadata, provider_error_code: failure.providerErrorCode ?? '' },
      })
    default:
      return new AppError('PROVIDER_UNAVAILABLE', 'no provider took the message', {
        metadata: { ...metadata, provider_error_code: failure?.providerErrorCode ?? '' },
      })
  }
}
