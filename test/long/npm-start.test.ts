import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { ChallengeStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { killLeftovers, ownDatabase, ROOT, serveBy, startSlowly } from '../support/service-process.ts'

afterAll(killLeftovers)

/** The line of the operators' guide that starts the service, as a shell takes it. */
async function productionCommand(): Promise<string> {
  const guide = await readFile(join(ROOT, 'docs/operating.md'), 'utf8')
  const [, line] = /^## Run it for real\n.*?^(exec .*)$/ms.exec(guide) ?? []
  return line ?? expect.unreachable('the guide names no command')
}

/** This process and those that come from it. */
async function familyOf(pid: number | undefined): Promise<number[]> {
  const { stdout } = await promisify(execFile)('ps', ['-eo', 'pid=,ppid='])
  const pairs = stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
  const found = [Number(pid)]
  for (const parent of found) found.push(...pairs.filter(([, ppid]) => ppid === parent).map(([child]) => Number(child)))
  return found
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test.concurrent.for([
  ['npm start', ['npm', 'start']],
  ["the guide's production command in a shell", ['sh', '-c']],
] as const)('SIGTERM to %s ends the calls under way well, and leaves no process behind', async ([, command]) => {
  const env = { ...(await ownDatabase()), HOME: tmpdir(), npm_config_update_notifier: 'false' }
  const isShell = command[0] === 'sh'
  await using service = await serveBy(isShell ? [...command, await productionCommand()] : [...command], env)
  const family = await familyOf(service.child.pid)
  expect(family).toHaveLength(isShell ? 1 : 2)
  const [call] = await startSlowly(service, env.DATABASE_URL, 1)

  service.child.kill('SIGTERM')

  expect(await call).toMatchObject({ challenge: { status: ChallengeStatus.SENT } })
  expect(await service.ended).toMatchObject({ code: 0, signal: null })
  expect(family.filter(isAlive)).toEqual([])
})

test.concurrent('SIGUSR1 opens no debugger, however the service is started', async () => {
  const env = { ...(await ownDatabase()), HOME: tmpdir(), npm_config_update_notifier: 'false' }
  await using service = await serveBy(['sh', '-c', await productionCommand()], env)
  service.child.kill('SIGUSR1')
  // It says so on standard error before anything else can happen.
  expect(await fetch(`${service.admin}/livez`)).toMatchObject({ status: 200 })
  service.child.kill('SIGTERM')
  expect((await service.ended).stderr).not.toContain('Debugger')
  const { scripts } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  for (const name of ['start', 'demo', 'chaos', 'migrate']) {
    expect(scripts[name]).toMatch(/^exec node --disable-sigusr1 /)
  }
})
