import { expect, test } from 'vitest'
import { parseDatabaseUrl } from '../../src/domain/database-url.ts'

test.for([
  ['postgres://bank:pw@db/router', ['db:5432']],
  ['postgresql://db', ['db:5432']],
  ['postgres:///router', ['localhost:5432']],
  ['postgres://db:6000/router', ['db:6000']],
  ['postgres://h1:6001,h2:6002,h3/router', ['h1:6001', 'h2:6002', 'h3:5432']],
  ['postgres://h1,h2/router?port=6000', ['h1:6000', 'h2:6000']],
  ['postgres://bank@/router?host=h1,h2&port=6001,6002', ['h1:6001', 'h2:6002']],
  ['postgres://[::1]:6000,[fe80::2]/router', ['::1:6000', 'fe80::2:5432']],
  ['postgres://%2Frun%2Fpostgres/router', ['/run/postgres:5432']],
  ['postgres://bank@/router?host=/run/postgres', ['/run/postgres:5432']],
] as const)('%s leads to %j', ([url, servers]) => {
  expect(parseDatabaseUrl(url)?.servers.map(({ host, port }) => `${host}:${port}`)).toEqual(servers)
})

test('each server has a URL of its own, with everything but the others', () => {
  const url = 'postgres://bank:p%40ss@h1:6001,h2/router?sslmode=verify-full&target_session_attrs=read-write'
  expect(parseDatabaseUrl(url)).toEqual({
    target: 'read-write',
    options: new Map([['sslmode', 'verify-full']]),
    servers: [
      { host: 'h1', port: 6001, url: 'postgres://bank:p%40ss@h1:6001/router?sslmode=verify-full' },
      { host: 'h2', port: 5432, url: 'postgres://bank:p%40ss@h2:5432/router?sslmode=verify-full' },
    ],
  })
})

test.for([
  ['', 'any'],
  ['?target_session_attrs=any', 'any'],
  ['?target_session_attrs=read-write', 'read-write'],
  ['?target_session_attrs=primary', 'primary'],
] as const)('"%s" asks for %s', ([query, target]) => {
  expect(parseDatabaseUrl(`postgres://db/router${query}`)?.target).toBe(target)
})

test.for([
  'postgres://',
  'mysql://db/router',
  'db/router',
  'postgres://db:port/router',
  'postgres://db:70000/router',
  'postgres://h1,h2:70000/router',
  'postgres://h1,h2,h3/router?port=1,2',
  'postgres://[::1/router',
  'postgres://db/router?target_session_attrs=standby',
])('%s is refused', (url) => {
  expect(parseDatabaseUrl(url)).toBeUndefined()
})
