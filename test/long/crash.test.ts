import { randomUUID } from 'node:crypto'
import { Code } from '@connectrpc/connect'
import { afterAll, expect, test, vi } from 'vitest'
import { ChallengeStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { failure } from '../support/app.ts'
import { startFakeVault } from '../support/fake-vault.ts'
import { connect, get, killLeftovers, ownDatabase, PORTS, run, serve, startSlowly } from '../support/service-process.ts'

afterAll(killLeftovers)

/** What no log may show. */
const CANARY = '+34600111222'

/** Settings that make the process do this whenever it gets SIGUSR2. */
function onSignal(script: string) {
  const module = `process.on('SIGUSR2', () => setImmediate(() => { ${script} }))`
  return { CANARY, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(module).replaceAll("'", '%27')}` }
}

const crashes: [name: string, script: string, type: string][] = [
  ['an uncaught exception', 'throw new TypeError(process.env.CANARY)', 'TypeError'],
  ['an unhandled rejection', 'Promise.reject(new RangeError(process.env.CANARY))', 'RangeError'],
  ['a rejection with what is no error', 'Promise.reject(process.env.CANARY)', 'UnhandledPromiseRejection'],
]

test.concurrent.for(crashes)('%s is logged, drains as a signal does, and ends it with 1', async ([_, script, type]) => {
  const env = await ownDatabase()
  await using service = await serve({ ...env, ...onSignal(script) })
  const [call] = await startSlowly(service, env.DATABASE_URL, 1)

  service.child.kill('SIGUSR2')
  await vi.waitFor(async () => expect(await get(`${service.admin}/readyz`)).toBe(503))
  // A second one must not cut the drain short.
  service.child.kill('SIGUSR2')
  // Refused in its words, or by the network before it could say so.
  const refusals = [Code.Unavailable, Code.Aborted, Code.Canceled]
  const askAnew = () => failure(connect(service.grpcUrl).getSignature({ signatureId: randomUUID() }))
  await vi.waitFor(async () => expect(refusals).toContain((await askAnew()).code))

  expect(await call).toMatchObject({ challenge: { status: ChallengeStatus.SENT } })
  const { code, stdout, stderr } = await service.ended
  expect(code).toBe(1)
  const lines = stdout.trimEnd().split('\n')
  const logged = lines.map((line) => JSON.parse(line)).filter(({ level }) => level === 'fatal')
  expect(logged).toHaveLength(2)
  expect(logged[0]).toMatchObject({ msg: 'uncaught', error: { type, stack: expect.any(String) } })
  expect(stdout + stderr.replace(service.command, '')).not.toContain('600111222')
  expect(stderr.split(service.command)[1]).toBe('\n\n')
})

test.concurrent('one before there is a log ends it with 1, and says no more than what it was', async () => {
  await using vault = await startFakeVault()
  vault.mode = 'hang'
  const secrets = { SECRETS_SOURCE: 'vault', VAULT_ADDR: vault.url, VAULT_TOKEN: vault.token }
  await using service = run([], { ...PORTS, ...secrets, ...onSignal('throw new TypeError(process.env.CANARY)') })
  await vi.waitFor(() => expect(vault.requests).not.toEqual([]), 10_000)

  service.child.kill('SIGUSR2')
  expect(await service.ended).toEqual({ code: 1, signal: null, stdout: '', stderr: 'uncaught TypeError\n' })
})

test.concurrent('one that leaves work behind which never ends does not keep it from ending', async () => {
  const broken = onSignal('setInterval(() => {}, 1_000); throw new Error()')
  await using service = await serve({ ...(await ownDatabase()), ...broken })
  service.child.kill('SIGUSR2')
  expect(await service.ended).toMatchObject({ code: 1, signal: null })
}, 60_000)
