import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** What takes longest begins first, so that nothing else waits for it at the end. */
const LONGEST = [
  'chaos',
  'embedded-postgres',
  'fallback-matrix',
  'malformed',
  'secrets-refresh',
  'database-faults',
  'routing-database',
  'circuit-breaker',
  'key-rotation',
  'process',
  'complete-races',
  'patience',
  'webhooks-http',
]

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`))
      return at < 0 ? LONGEST.length : at
    }
    return files.toSorted((a, b) => rank(a) - rank(b))
  }
}

export default defineConfig({
  test: {
    projects: [
      // These leave nothing behind, so that files share a process and what it has loaded.
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          isolate: false,
          setupFiles: 'test/support/seed-checks.ts',
        },
      },
      {
        extends: true,
        test: { name: 'integration', include: ['test/{integration,browser}/**/*.test.ts'], isolate: false },
      },
      { extends: true, test: { name: 'long', include: ['test/long/**/*.test.ts'] } },
    ],
    globalSetup: 'test/support/global-setup.ts',
    reporters: ['default', 'json'],
    outputFile: { json: 'node_modules/.cache/test-report.json' },
    sequence: { sequencer: LongestFirst },
    // Most tests wait for something more than they compute.
    maxWorkers: 6,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Connect's client rejects a promise that nobody has when its connection is told to go between two calls.
    onUnhandledError: ({ message }) => message !== '[canceled] received GOAWAY without any open streams',
  },
})
