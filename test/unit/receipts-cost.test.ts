import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { twilioCallReceipts, twilioMessageReceipts } from '../../src/providers/twilio/twilio-receipts.ts'
import { vonageReceipts } from '../../src/providers/vonage/vonage-receipts.ts'

const twilio = { accountSid: 'AC0', authTokens: { current: 'token' }, publicUrl: 'https://bank.example' }
const readers = [
  twilioMessageReceipts(twilio),
  twilioCallReceipts(twilio),
  vonageReceipts({ apiKey: 'key', signatureSecret: 'secret' }),
]
const QUERY = `?challenge=${randomUUID()}&attempt=1`
/** Of a body, and of all headers of a request, as the listener lets them through. */
const MOST = { body: 64 * 1024, header: 8 * 1024 }
const GROWTH = 8

/** The least of several runs, as others have work on this machine, too. */
async function leastMs(work: () => Promise<unknown>): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let run = 0; run < 5; run += 1) {
    const startedAt = performance.now()
    await work()
    least = Math.min(least, performance.now() - startedAt)
  }
  return least
}

test('what an unsigned receipt costs grows no faster than it does, whatever is in it', async () => {
  const words = fc.constantFrom(
    'a',
    'A1',
    'MessageStatus',
    '=',
    '&',
    '%41',
    '%',
    '+',
    '#',
    '.',
    '-',
    '{',
    '[',
    '"',
    ',',
    'é',
  )
  const pieces = fc.array(words, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''))
  await fc.assert(
    fc.asyncProperty(pieces, fc.constantFrom(...readers), async (piece, reader) => {
      const costMs = (part: number) => {
        const filled = (bytes: number) => piece.repeat(bytes / part / piece.length)
        const header = filled(MOST.header)
        // Each name is another one: "a=1&a=1" would be one parameter.
        const rawBody = Buffer.from(filled(MOST.body).replaceAll('&', (_, place) => `${place}&`)).subarray(
          0,
          MOST.body / part,
        )
        const headers = { 'x-twilio-signature': header, authorization: `Bearer ${header}` }
        return leastMs(async () => {
          expect(await reader.read({ target: reader.path + QUERY, headers, rawBody })).toBeUndefined()
        })
      }
      const small = await costMs(GROWTH)
      // Square would be 64 times as much. Below a millisecond there is nothing to see.
      expect(await costMs(1)).toBeLessThan(Math.max(1, small) * GROWTH * 3)
    }),
    {
      numRuns: 30,
      examples: ['a=1&', 'A=&', '&'].flatMap((piece) =>
        readers.map((reader): [string, typeof reader] => [piece, reader]),
      ),
    },
  )
})
