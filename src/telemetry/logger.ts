import { createWriteStream, fstatSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import pino, { type DestinationStream, type Logger as PinoLogger } from 'pino'

export type Logger = PinoLogger

/** What a stalled reader may hold back before lines are dropped. */
const BUFFER_BYTES = 1024 * 1024
const FLUSH_MS = 1_000

/**
 * Standard output as a log destination that never makes its writer wait: beyond its buffer it drops lines and says so.
 * Disposing writes what is buffered, unless the reader stands still. Nothing else in the process may write there.
 */
export function openLog(onDrop: () => void): DestinationStream & AsyncDisposable {
  let output: Writable | undefined
  return {
    write(line) {
      output ??= openOutput()
      if (output.writable && output.writableLength < BUFFER_BYTES) output.write(line)
      else onDrop()
    },
    async [Symbol.asyncDispose]() {
      const opened = output
      if (!opened) return
      const { promise, resolve } = Promise.withResolvers<void>()
      const timer = setTimeout(resolve, FLUSH_MS)
      opened.write('', () => resolve())
      await promise
      clearTimeout(timer)
      opened.destroy()
    },
  }
}

function openOutput(): Writable {
  const stdout = fstatSync(1)
  // A write to a full pipe by the thread pool can't be given up: the process could never exit.
  const output =
    stdout.isFIFO() || stdout.isSocket()
      ? new Socket({ fd: 1, readable: false, writable: true })
      : createWriteStream('', { fd: 1, autoClose: false })
  // The reader has gone: nothing can be written any more.
  return output.on('error', () => {})
}

/** Makes a logger of JSON lines. Pass only fields without personal data; errors are reduced to type, code and stack. */
export function createLogger(level: string, destination: DestinationStream): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: describeError },
      hooks: {
        // pino takes the message of an error that comes alone.
        logMethod(args, method) {
          method.apply(this, args[0] instanceof Error ? [{ error: args[0] }, 'error'] : args)
        },
      },
    },
    destination,
  )
}

/**
 * What a log may say of an error. Messages stay out, as libraries put values into them (PostgreSQL quotes the row that
 * breaks a constraint); the stack shows where.
 */
function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { type: typeof error }
  const { name, message, stack = '' } = error
  const frames = stack
    .slice(stack.indexOf(message) + message.length)
    .split('\n')
    .filter((line) => line.trimStart().startsWith('at '))
  return {
    type: name,
    ...('code' in error && { code: String(error.code) }),
    stack: frames.join('\n'),
    ...(error.cause instanceof Error && { cause: describeError(error.cause) }),
  }
}
