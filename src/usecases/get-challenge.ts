import type { Context } from '../context.ts'
import type { Challenge } from '../domain/challenge.ts'
import { currentChallenge } from './current.ts'

/** Returns a challenge as it stands now. Throws CHALLENGE_NOT_FOUND. */
export async function getChallenge(
  ctx: Pick<Context, 'db' | 'metrics' | 'log'>,
  caller: string,
  challengeId: string,
): Promise<Challenge> {
  return currentChallenge(ctx, caller, challengeId)
}
