import type { Script } from './customers.ts'
import type { Trap } from './wire.ts'

/** A moment of Start or Complete at which a replica is killed, told by what it says on the wire. */
export interface KillPoint extends Pick<Trap, 'sees' | 'holds'> {
  name: string
  /** The network that it is said on. */
  on: 'database' | 'vendor'
  /** What a customer does so that it is said. */
  script: Script
}

const CLAIM = 'insert into "idempotency_key"'
const ATTEMPT = 'insert into "attempt"'
const OUTCOME = '"provider_proof" ='
const TRY = 'set "tries_used" = tries_used + 1'
const COMMIT = 'commit\0'

const says =
  (text: string): Trap['sees'] =>
  (said) =>
    said.includes(text)
/** The commit of a transaction that said so before. */
const commits =
  (text: string): Trap['sees'] =>
  (said, since) =>
    said.includes(COMMIT) && since.includes(text)

const before = { on: 'database', holds: 'request', script: 'sign' } as const
const after = { on: 'database', holds: 'answer', script: 'sign' } as const

export const KILL_POINTS: readonly KillPoint[] = [
  { name: 'start-before-claim', ...before, sees: says(CLAIM) },
  { name: 'start-claimed', ...after, sees: says(CLAIM) },
  { name: 'start-before-commit', ...before, sees: commits(CLAIM) },
  { name: 'start-commit-unanswered', ...after, sees: commits(CLAIM) },
  { name: 'start-attempt-unwritten', ...before, sees: says(ATTEMPT) },
  { name: 'start-attempt-written', ...after, sees: says(ATTEMPT) },
  { name: 'provider-not-reached', on: 'vendor', holds: 'request', script: 'sign', sees: says('POST ') },
  { name: 'provider-asked', on: 'vendor', holds: 'answer', script: 'sign', sees: says('POST ') },
  { name: 'start-outcome-unwritten', ...before, sees: says(OUTCOME) },
  { name: 'start-outcome-before-commit', ...before, sees: commits(OUTCOME) },
  { name: 'start-outcome-commit-unanswered', ...after, sees: commits(OUTCOME) },
  { name: 'complete-before-try', ...before, sees: says(TRY) },
  { name: 'complete-try-taken', ...after, sees: says(TRY) },
  { name: 'complete-before-commit', ...before, sees: commits('SIGNATURE_SIGNED') },
  { name: 'complete-commit-unanswered', ...after, sees: commits('SIGNATURE_SIGNED') },
  { name: 'complete-rejection-before-commit', ...before, script: 'wrong, then sign', sees: commits('CODE_REJECTED') },
  { name: 'complete-rejection-unanswered', ...after, script: 'wrong, then sign', sees: commits('CODE_REJECTED') },
  { name: 'abort-commit-unanswered', ...after, script: 'abort', sees: commits('SIGNATURE_ABORTED') },
]
