import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { PATH, ROOT } from '../support/service-process.ts'

test("README's demo shows one whole signature, and leaves nothing behind", { timeout: 120_000 }, async () => {
  const TMPDIR = await mkdtemp(join(tmpdir(), 'signature-router-demo-test-'))
  try {
    const env = { PATH, HOME: TMPDIR, TMPDIR, npm_config_update_notifier: 'false' }
    const { stdout } = await promisify(execFile)('npm', ['run', 'demo'], { cwd: ROOT, env })
    expect(stdout).toMatch(/CompleteSignature {3}\d{6}: SIGNED/)
    expect(stdout).toMatch(/SIGNATURE_STARTED.*CHALLENGE_SENT.*CODE_REJECTED.*SIGNATURE_SIGNED/s)
    expect((await readdir(TMPDIR)).filter((name) => name.startsWith('signature-router'))).toEqual([])
  } finally {
    await rm(TMPDIR, { recursive: true })
  }
})
