import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test, vi } from 'vitest'
import { SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { codeIn, startRequest, transaction } from '../support/app.ts'
import { connect, killLeftovers, run, sandboxMessages, serve } from '../support/service-process.ts'

/** Ends the PostgreSQL that a failed test left behind, and removes its data. */
async function remove(dataDir: string): Promise<void> {
  killLeftovers()
  const pidFile = await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8').catch(() => '')
  if (pidFile) process.kill(Number.parseInt(pidFile, 10), 'SIGQUIT')
  await vi.waitFor(async () => expect(await processesOn(dataDir)).toEqual([]), 20_000)
  await rm(dataDir, { recursive: true })
}

test('with only a data directory, a killed service loses nothing, and a stopped one leaves no PostgreSQL behind', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'signature-router-process-'))
  onTestFinished(() => remove(dataDir))
  await using migration = run(['migrate'], { DATA_DIR: dataDir })
  expect(await migration.ended).toMatchObject({ code: 0, stdout: expect.stringContaining('0001'), stderr: '' })
  expect(await processesOn(dataDir)).toEqual([])

  const { code, signatureId } = await (async () => {
    await using service = await serve({ DATA_DIR: dataDir })
    const { signature, challenge } = await connect(service.grpcUrl).startSignature(startRequest())
    const message = (await sandboxMessages(service.sandbox)).find(({ sid }) => sid === challenge?.providerChallengeId)
    service.child.kill('SIGKILL')
    expect(await service.ended).toMatchObject({ signal: 'SIGKILL' })
    return { code: codeIn(message?.body), signatureId: signature?.id ?? '' }
  })()

  await using service = await serve({ DATA_DIR: dataDir })
  const client = connect(service.grpcUrl)
  expect(await client.getSignature({ signatureId })).toMatchObject({ signature: { status: SignatureStatus.PENDING } })
  const completed = await client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(completed).toMatchObject({ signature: { id: signatureId, status: SignatureStatus.SIGNED } })

  expect(await processesOn(dataDir)).not.toEqual([])
  service.child.kill('SIGTERM')
  expect(await service.ended).toMatchObject({ code: 0 })
  expect(await processesOn(dataDir)).toEqual([])
}, 120_000)

/** The processes of the PostgreSQL that keeps its data in this directory. */
async function processesOn(dataDir: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)('ps', ['-eo', 'stat=,args='])
  return stdout.split('\n').filter((line) => !line.startsWith('Z') && line.includes(`${dataDir}/`))
}
