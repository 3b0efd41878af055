import { expect, test } from 'vitest'
import { type Transaction, transactionDigest } from '../../src/domain/transaction.ts'
import { seededRandom } from '../support/seeded-random.ts'

const TRANSACTION: Transaction = {
  amount: { currency: 'EUR', units: 125n, nanos: 500_000_000 },
  payeeName: 'Peña & Söhne',
  payeeAccount: 'ES9121000418450200051332',
  transactionType: 'SEPA_CREDIT_TRANSFER',
  reference: 'Invoice 7',
}

function digest(fields: Partial<Transaction> = {}): string {
  return transactionDigest({ ...TRANSACTION, ...fields }).toString('hex')
}

function amount(currency: string, units: bigint, nanos: number): Partial<Transaction> {
  return { amount: { currency, units, nanos } }
}

test('the same transaction has the same digest, in whatever order its fields are', () => {
  const { reference, transactionType, payeeAccount, payeeName } = TRANSACTION
  const { nanos, units, currency } = TRANSACTION.amount
  const reordered = { reference, transactionType, payeeAccount, payeeName, amount: { nanos, units, currency } }
  expect(transactionDigest(reordered)).toEqual(transactionDigest(TRANSACTION))
})

test('the digest has a fixed format, so that signatures under way survive a new version', () => {
  expect(digest()).toBe('f94ee9eab691e91c4faf086b4d89ad09345ca9ece7e4a51703de8a4c054313f1')
})

test('every field matters, down to the last billionth and the last letter', () => {
  const digests = [
    digest(),
    digest(amount('USD', 125n, 500_000_000)),
    digest(amount('EUR', 126n, 500_000_000)),
    digest(amount('EUR', 125n, 500_000_001)),
    digest(amount('EUR', 9_223_372_036_854_775_807n, 0)),
    digest(amount('EUR', 9_223_372_036_854_775_806n, 0)),
    digest({ payeeName: 'Peña & Söhn' }),
    digest({ payeeName: 'peña & Söhne' }),
    digest({ payeeName: 'Pena & Söhne' }),
    digest({ payeeName: 'Peña & Söhne'.normalize('NFD') }),
    digest({ payeeName: 'Peña & Söhne ' }),
    digest({ payeeAccount: 'ES9121000418450200051333' }),
    digest({ transactionType: '' }),
    digest({ reference: '' }),
  ]
  expect(new Set(digests).size).toBe(digests.length)
})

test('text moved over the border of two fields makes another transaction', () => {
  const moved: Partial<Transaction>[][] = [
    [
      { payeeName: 'ab', payeeAccount: 'c' },
      { payeeName: 'a', payeeAccount: 'bc' },
      { payeeName: '', payeeAccount: 'abc' },
      { payeeName: 'abc', payeeAccount: '' },
    ],
    [
      { payeeAccount: 'ab', transactionType: 'c' },
      { payeeAccount: 'a', transactionType: 'bc' },
    ],
    [
      { transactionType: 'ab', reference: 'c' },
      { transactionType: 'a', reference: 'bc' },
    ],
    [
      { payeeName: 'x', reference: 'y' },
      { payeeName: 'y', reference: 'x' },
    ],
    [amount('EUR', 1n, 23), amount('EUR', 12n, 3), amount('EUR', 123n, 0)],
    // A field that holds what stands between two others.
    [
      { payeeName: 'a\0\0\0\x01b', payeeAccount: 'c' },
      { payeeName: 'a', payeeAccount: 'b\0\0\0\x01c' },
    ],
  ]
  for (const transactions of moved) {
    expect(new Set(transactions.map(digest)).size).toBe(transactions.length)
  }
})

test('no two of many nearly equal transactions share a digest', () => {
  const random = seededRandom(1)
  const piece = () => ['', 'a', 'b', '0', '\0', '\x01', '|', 'é'][random(8)] ?? ''
  const text = () => piece() + piece()
  const seen = new Map<string, string>()

  for (let round = 0; round < 20_000; round++) {
    const transaction = {
      amount: { currency: ['EUR', 'USD'][random(2)] ?? '', units: BigInt(random(12)), nanos: random(12) },
      payeeName: text(),
      payeeAccount: text(),
      transactionType: text(),
      reference: text(),
    }
    const { currency, units, nanos } = transaction.amount
    const whole = JSON.stringify({ ...transaction, amount: [currency, String(units), nanos] })
    const key = transactionDigest(transaction).toString('hex')
    expect(seen.get(key) ?? whole).toBe(whole)
    seen.set(key, whole)
  }
  expect(seen.size).toBeGreaterThan(19_000)
})
