import type { Fault } from '../src/sandbox/sandbox.ts'

/** What a vendor does to one start, and what must come of it when nothing else goes wrong. */
export interface ProviderFault {
  name: string
  /** What befalls the start's calls, in order; those after them go well. */
  faults?: Fault[]
  /** The connection is cut at the first call: before the vendor reads it, or before its answer comes. */
  cut?: 'before' | 'after'
  /** How many calls the service must know of. */
  attempts: number
  /** How many messages may reach the phone. */
  messages: number
  /** SENT, UNKNOWN, or why the start failed. */
  told: 'SENT' | 'UNKNOWN' | 'DESTINATION_UNREACHABLE' | 'PROVIDER_UNAVAILABLE'
}

const NOT_SENT = { attempts: 2, messages: 1, told: 'SENT' } as const
const SENT_ALL_THE_SAME = { attempts: 2, messages: 2, told: 'SENT' } as const
const UNREACHABLE = { attempts: 1, messages: 0, told: 'DESTINATION_UNREACHABLE' } as const
const REFUSED = { attempts: 1, messages: 0, told: 'PROVIDER_UNAVAILABLE' } as const
const UNPROVEN = { attempts: 1, messages: 1, told: 'UNKNOWN' } as const

const throughout = (fault: Fault): Fault[] => [fault, fault, fault, fault]

/** Every kind of a provider's failure. */
export const PROVIDER_FAULTS: readonly ProviderFault[] = [
  { name: '429', faults: [{ status: 429 }], ...NOT_SENT },
  { name: '429 retry after 1 s', faults: [{ status: 429, retryAfterSeconds: 1 }], ...NOT_SENT },
  { name: '429 retry after 60 s', faults: [{ status: 429, retryAfterSeconds: 60 }], ...REFUSED },
  { name: '500', faults: [{ status: 500 }], ...NOT_SENT },
  { name: '500 sent', faults: [{ status: 500, sent: true }], ...SENT_ALL_THE_SAME },
  { name: '503', faults: [{ status: 503 }], ...NOT_SENT },
  { name: '503 sent', faults: [{ status: 503, sent: true }], ...SENT_ALL_THE_SAME },
  {
    name: '500 throughout',
    faults: throughout({ status: 500 }),
    attempts: 4,
    messages: 0,
    told: 'PROVIDER_UNAVAILABLE',
  },
  {
    name: '500 sent throughout',
    faults: throughout({ status: 500, sent: true }),
    attempts: 4,
    messages: 4,
    told: 'PROVIDER_UNAVAILABLE',
  },
  { name: 'no answer', faults: [{ hang: true }], ...NOT_SENT },
  { name: 'no answer, sent', faults: [{ hang: true, sent: true }], ...SENT_ALL_THE_SAME },
  { name: 'no answer throughout', faults: throughout({ hang: true }), attempts: 4, messages: 0, told: 'UNKNOWN' },
  {
    name: 'no answer throughout, sent',
    faults: throughout({ hang: true, sent: true }),
    attempts: 4,
    messages: 4,
    told: 'UNKNOWN',
  },
  { name: 'reset', faults: [{ reset: true }], ...NOT_SENT },
  { name: 'reset, sent', faults: [{ reset: true, sent: true }], ...SENT_ALL_THE_SAME },
  { name: 'reset throughout', faults: throughout({ reset: true }), attempts: 4, messages: 0, told: 'UNKNOWN' },
  { name: 'cut before the call', cut: 'before', ...NOT_SENT },
  { name: 'cut before the answer', cut: 'after', ...SENT_ALL_THE_SAME },
  { name: '21211', faults: [{ status: 400, code: 21211 }], ...UNREACHABLE },
  { name: '21408', faults: [{ status: 403, code: 21408 }], ...REFUSED },
  { name: '21610', faults: [{ status: 400, code: 21610 }], ...UNREACHABLE },
  { name: '21614', faults: [{ status: 400, code: 21614 }], ...UNREACHABLE },
  { name: '20003', faults: [{ status: 401, code: 20003 }], ...REFUSED },
  { name: '21606', faults: [{ status: 400, code: 21606 }], ...REFUSED },
  { name: '403', faults: [{ status: 403 }], ...REFUSED },
  { name: 'redirect', faults: [{ redirect: 'http://127.0.0.1:9/' }], ...REFUSED },
  { name: 'broken body', faults: [{ status: 201, body: 'not json' }], ...UNPROVEN },
  { name: 'broken body, sent', faults: [{ status: 201, body: 'not json', sent: true }], ...UNPROVEN },
  { name: 'no SID', faults: [{ status: 201, body: '{}', sent: true }], ...UNPROVEN },
  { name: 'over 64 KiB', faults: [{ status: 201, body: ' '.repeat(70_000), sent: true }], ...UNPROVEN },
  { name: 'drip', faults: [{ drip: true, sent: true }], ...UNPROVEN },
  { name: 'slow', faults: [{ latencyMs: 300 }], attempts: 1, messages: 1, told: 'SENT' },
  { name: 'slower than the timeout', faults: [{ latencyMs: 1_500 }], ...SENT_ALL_THE_SAME },
  {
    name: '503, then no answer, then reset',
    faults: [{ status: 503 }, { hang: true }, { reset: true }],
    attempts: 4,
    messages: 1,
    told: 'SENT',
  },
  {
    name: 'reset, sent, then 21610',
    faults: [
      { reset: true, sent: true },
      { status: 400, code: 21610 },
    ],
    attempts: 2,
    messages: 1,
    told: 'UNKNOWN',
  },
]
