import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

/** Prints every module that it resolves. */
const HOOK = `import { registerHooks } from 'node:module'
  registerHooks({ resolve(name, context, next) {
    const found = next(name, context)
    console.log(found.url)
    return found
  } })`

test('chaos loads no test runner', async () => {
  const run = new URL('../../chaos/run.ts', import.meta.url).href
  const args = ['--import', `data:text/javascript,${encodeURIComponent(HOOK)}`, '--input-type=module']
  const { stdout } = await promisify(execFile)(process.execPath, [...args, '--eval', `import '${run}'`])
  expect(stdout).toContain(run)
  expect(stdout).not.toContain('/node_modules/vitest/')
})
