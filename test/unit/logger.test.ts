import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { afterEach, expect, test } from 'vitest'
import { createLogger } from '../../src/telemetry/logger.ts'

const PHONE = '+34600111222'

/** What is logged of an error. */
function logged(error: unknown): { line: string; error: Record<string, unknown> } {
  const lines: string[] = []
  createLogger('info', { write: (line: string) => void lines.push(line) }).error({ error }, 'failed')
  const [line = ''] = lines
  return { line, error: JSON.parse(line).error }
}

test('a line is JSON with level, time and message, and nothing of the machine', () => {
  const lines: string[] = []
  const log = createLogger('info', { write: (line: string) => void lines.push(line) })
  log.debug('too fine')
  log.info({ signature_id: 's1' }, 'challenge sent')

  expect(lines).toHaveLength(1)
  expect(lines[0]).toMatch(/\}\n$/)
  expect(JSON.parse(lines[0] ?? '')).toEqual({
    level: 'info',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    signature_id: 's1',
    msg: 'challenge sent',
  })
})

test('of a database error the code and the place are logged, and not the row that it quotes', () => {
  const { line, error } = logged(
    Object.assign(new Error(`duplicate key value violates unique constraint: ${PHONE}`), {
      code: '23505',
      detail: `Key (phone)=(${PHONE}) already exists.`,
      where: `COPY person, line 1: "${PHONE}"`,
      hint: PHONE,
    }),
  )
  expect(error).toEqual({ type: 'Error', code: '23505', stack: expect.stringContaining('logger.test.ts') })
  expect(line).not.toContain('600111222')
})

test('causes are logged in the same way', () => {
  class OuterError extends Error {
    override readonly name = 'OuterError'
  }
  const cause = Object.assign(new TypeError(`no ${PHONE}`), { code: 'ECONNREFUSED' })
  const { line, error } = logged(new OuterError(`failed for ${PHONE}`, { cause }))
  expect(error).toMatchObject({ type: 'OuterError', cause: { type: 'TypeError', code: 'ECONNREFUSED' } })
  expect(line).not.toContain('600111222')
})

test('a message of several lines is no part of the stack, even when a line of it looks like one', () => {
  const { line, error } = logged(new Error(`no such row\nat ${PHONE}\n    at ${PHONE} (x.ts:1:1)`))
  expect(error.stack).toMatch(/^ +at .*logger\.test\.ts/)
  expect(line).not.toContain('600111222')
})

test('of what was thrown without being an error only the type is logged', () => {
  expect(logged(`no route to ${PHONE}`).error).toEqual({ type: 'string' })
  expect(logged({ phone: PHONE }).error).toEqual({ type: 'object' })
  expect(logged(undefined).error ?? { type: 'undefined' }).toEqual({ type: 'undefined' })
})

test('an error that is logged without a name shows no message either', () => {
  const lines: string[] = []
  createLogger('info', { write: (line: string) => void lines.push(line) }).error(new Error(`no ${PHONE}`))
  expect(lines.join('')).not.toContain('600111222')
})

const MODULE = JSON.stringify(import.meta.resolve('../../src/telemetry/logger.ts'))
const LINES = 20_000

/** Writes far more than the buffer and the pipe hold, says so on standard error, and closes the log when told on standard input. */
const WRITER = `
  import { once } from 'node:events'
  import { createLogger, openLog } from ${MODULE}
  let dropped = 0
  const destination = openLog(() => { dropped += 1 })
  const log = createLogger('info', destination)
  for (let number = 0; number < ${LINES}; number++) {
    log.info({ number, padding: 'x'.repeat(200) }, 'line')
    if (number % 1_000 === 0) await new Promise(setImmediate)
  }
  process.stderr.write(dropped + '\\n')
  await once(process.stdin, 'data')
  await destination[Symbol.asyncDispose]()
  process.stdin.destroy()`

let writer: ChildProcess | undefined
afterEach(() => {
  writer?.kill('SIGKILL')
})

async function startWriter() {
  const child = spawn(process.execPath, ['--input-type=module', '-e', WRITER], { stdio: 'pipe' })
  writer = child
  // Unread, its standard output fills up.
  child.stdout.pause()
  const exited = once(child, 'exit')
  const [dropped] = await once(child.stderr, 'data')
  return { child, exited, dropped: Number(dropped) }
}

test('a reader that stands still does not stall the writer: what does not fit is dropped and counted', async () => {
  const { child, exited, dropped } = await startWriter()
  expect(dropped).toBeGreaterThan(0)
  expect(dropped).toBeLessThan(LINES)

  const output = text(child.stdout)
  child.stdin.end('close')
  const lines = (await output).trimEnd().split('\n')
  expect(await exited).toEqual([0, null])
  expect(lines.length + dropped).toBe(LINES)
  expect(lines.map((line) => JSON.parse(line).msg).filter((msg) => msg !== 'line')).toEqual([])
})

test('a reader that stands still does not keep the process from exiting', async () => {
  const { child, exited } = await startWriter()
  child.stdin.end('close')
  expect(await exited).toEqual([0, null])
}, 10_000)

test('a reader that goes away does not end the process', async () => {
  const { child, exited } = await startWriter()
  child.stdout.destroy()
  child.stdin.end('close')
  expect(await exited).toEqual([0, null])
}, 10_000)
