import { expect, test } from 'vitest'
import { createAvailability } from '../../src/providers/availability.ts'
import { createVonageSms } from '../../src/providers/vonage/vonage-sms.ts'
import { useSandbox } from '../support/provider-contract.ts'

const started = useSandbox()

test('what a provider said holds for 10 s, and for that provider only', async () => {
  const { sandbox, accounts } = started()
  let now = 1_000_000
  const clock = () => new Date(now)
  const isAvailable = createAvailability(clock)
  const vonage = (apiUrl: string) =>
    createVonageSms({ ...accounts.vonage, webhookUrl: undefined, apiUrl, timeoutMs: 5_000, clock })
  const [provider, unreachable] = [vonage(sandbox.url), vonage('http://127.0.0.1:1')]
  expect(await isAvailable(provider)).toBe(true)
  expect(await isAvailable(unreachable)).toBe(false)

  await sandbox[Symbol.asyncDispose]()

  now += 9_999
  expect(await isAvailable(provider)).toBe(true)
  now += 1
  expect(await isAvailable(provider)).toBe(false)
})
