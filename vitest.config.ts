import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/global-setup.ts',
    reporters: ['default', ['json', { outputFile: 'node_modules/.cache/test-report.json' }]],
    // Most tests wait for something more than they compute.
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Connect's client rejects a promise that nobody has when its connection is told to go between two calls.
    onUnhandledError: ({ message }) => message !== '[canceled] received GOAWAY without any open streams',
  },
})
