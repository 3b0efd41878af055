import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { connect, sign } from '../../docs/sign.ts'
import { SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { codeIn, failure, PHONE, startApp, wrongCode } from '../support/app.ts'

const ROOT = join(import.meta.dirname, '../..')
const transaction = {
  amount: { currencyCode: 'EUR', units: 125n, nanos: 500_000_000 },
  payeeName: 'ACME Ltd',
  payeeAccount: 'ES9121000418450200051332',
}

test("the guide's TypeScript sample is the file that is checked and run here", async () => {
  const [guide, sample] = await Promise.all(
    ['docs/integrating.md', 'docs/sign.ts'].map((file) => readFile(join(ROOT, file), 'utf8')),
  )
  expect(guide).toContain(`\n\`\`\`ts\n${sample}\`\`\`\n`)
})

test("the guide's TypeScript sample asks until the code signs, and no longer than there are tries", async () => {
  await using app = await startApp()
  const client = connect(app.url)
  const order = () => ({ id: randomUUID(), customer: { id: 'customer-1', phone: PHONE }, transaction })
  const rightCode = () => codeIn(app.sandbox.messages[0]?.body)

  const asked: number[] = []
  const { signature } = await sign(client, order(), async (triesLeft) => {
    asked.push(triesLeft)
    return triesLeft === 3 ? wrongCode(rightCode()) : rightCode()
  })
  expect(signature?.status).toBe(SignatureStatus.SIGNED)
  expect(asked).toEqual([3, 2])

  const wrongs: number[] = []
  const call = sign(client, order(), async (triesLeft) => {
    wrongs.push(triesLeft)
    return wrongCode(rightCode())
  })
  expect(await failure(call)).toMatchObject({ reason: 'CODE_REJECTED', metadata: { tries_remaining: '0' } })
  expect(wrongs).toEqual([3, 2, 1])
})
