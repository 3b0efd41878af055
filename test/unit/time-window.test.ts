import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  coversWindow,
  isInWindow,
  isTimeOfDay,
  isTimeZone,
  localTime,
  type TimeWindow,
  WEEKDAYS,
  weekIntervals,
} from '../../src/domain/time-window.ts'

const WEEK = 7 * 24 * 60
const OFFICE: TimeWindow = { start: '09:00', end: '17:30', timeZone: 'Europe/Madrid', weekdays: [] }

function isOpen(window: TimeWindow, instant: string): boolean {
  return isInWindow(weekIntervals(window), localTime(new Date(instant), window.timeZone))
}

function minutesOf(window: TimeWindow): number[] {
  const intervals = weekIntervals(window)
  return Array.from({ length: WEEK }, (_, minute) => minute).filter((minute) => isInWindow(intervals, minute))
}

/** The first week of 2026 that begins on a Monday, in Madrid's winter time. */
function madrid(day: number, time: string): string {
  return `2026-01-${String(4 + day).padStart(2, '0')}T${time}+01:00`
}
const [MON, TUE, FRI, SAT, SUN, NEXT_MON] = [1, 2, 5, 6, 7, 8]

describe('hours of the day', () => {
  test.for([
    [OFFICE, '00:00:00', false],
    [OFFICE, '08:59:59.999', false],
    [OFFICE, '09:00:00', true],
    [OFFICE, '17:29:59.999', true],
    [OFFICE, '17:30:00', false],
    [{ ...OFFICE, start: '22:00', end: '06:00' }, '21:59:59', false],
    [{ ...OFFICE, start: '22:00', end: '06:00' }, '22:00:00', true],
    [{ ...OFFICE, start: '22:00', end: '06:00' }, '00:00:00', true],
    [{ ...OFFICE, start: '22:00', end: '06:00' }, '05:59:59', true],
    [{ ...OFFICE, start: '22:00', end: '06:00' }, '06:00:00', false],
    [{ ...OFFICE, start: '22:00', end: '00:00' }, '23:59:59', true],
    [{ ...OFFICE, start: '22:00', end: '00:00' }, '00:00:00', false],
    [{ ...OFFICE, start: '00:00', end: '00:01' }, '00:00:59', true],
    [{ ...OFFICE, start: '00:00', end: '00:01' }, '00:01:00', false],
  ] as const)('of %o, %s is one: %s', ([window, time, expected]) => {
    for (let day = MON; day <= NEXT_MON; day++) expect(isOpen(window, madrid(day, time))).toBe(expected)
  })

  test('the same start and end are a whole day from then on', () => {
    const allDay = { ...OFFICE, start: '15:00', end: '15:00' }
    expect(minutesOf(allDay)).toHaveLength(WEEK)
    const fromTuesday: TimeWindow = { ...allDay, weekdays: ['TUESDAY'] }
    expect(isOpen(fromTuesday, madrid(TUE, '14:59:59'))).toBe(false)
    expect(isOpen(fromTuesday, madrid(TUE, '15:00:00'))).toBe(true)
    expect(isOpen(fromTuesday, madrid(TUE + 1, '14:59:59'))).toBe(true)
    expect(isOpen(fromTuesday, madrid(TUE + 1, '15:00:00'))).toBe(false)
  })
})

describe('weekdays', () => {
  test('are the days on which a window begins, not those into which it runs', () => {
    const fridayNight: TimeWindow = { ...OFFICE, start: '22:00', end: '06:00', weekdays: ['FRIDAY'] }
    expect(isOpen(fridayNight, madrid(FRI, '05:00:00'))).toBe(false)
    expect(isOpen(fridayNight, madrid(FRI, '22:00:00'))).toBe(true)
    expect(isOpen(fridayNight, madrid(SAT, '05:59:59'))).toBe(true)
    expect(isOpen(fridayNight, madrid(SAT, '06:00:00'))).toBe(false)
    expect(isOpen(fridayNight, madrid(SAT, '22:00:00'))).toBe(false)
  })

  test('run over the end of the week: Sunday night ends on Monday', () => {
    const sundayNight: TimeWindow = { ...OFFICE, start: '22:00', end: '06:00', weekdays: ['SUNDAY'] }
    expect(isOpen(sundayNight, madrid(SUN, '21:59:59'))).toBe(false)
    expect(isOpen(sundayNight, madrid(SUN, '23:59:59'))).toBe(true)
    expect(isOpen(sundayNight, madrid(NEXT_MON, '05:59:59'))).toBe(true)
    expect(isOpen(sundayNight, madrid(NEXT_MON, '06:00:00'))).toBe(false)
    expect(isOpen(sundayNight, madrid(TUE, '05:00:00'))).toBe(false)
    expect(minutesOf(sundayNight)).toHaveLength(8 * 60)
  })

  test.for([...WEEKDAYS.entries()])('%i after Monday is %s', ([after, weekday]) => {
    for (let day = MON; day <= SUN; day++) {
      expect(isOpen({ ...OFFICE, weekdays: [weekday] }, madrid(day, '12:00:00'))).toBe(day - MON === after)
    }
  })

  test('several are all of them, in whatever order, and none are every day', () => {
    const [monday, sunday] = [['MONDAY'], ['SUNDAY']] as const
    const both = minutesOf({ ...OFFICE, weekdays: [...sunday, ...monday] })
    expect(both).toEqual([monday, sunday].flatMap((days) => minutesOf({ ...OFFICE, weekdays: [...days] })))
    expect(minutesOf(OFFICE)).toEqual(minutesOf({ ...OFFICE, weekdays: [...WEEKDAYS] }))
  })
})

describe('time zones', () => {
  test.for([
    // Half hours, and another day than UTC's.
    ['Asia/Kolkata', '2026-01-05T03:29:59Z', 'MONDAY', '08:59'],
    ['Asia/Kolkata', '2026-01-05T18:30:00Z', 'TUESDAY', '00:00'],
    ['Asia/Kathmandu', '2026-01-05T18:15:00Z', 'TUESDAY', '00:00'],
    ['Pacific/Kiritimati', '2026-01-04T10:00:00Z', 'MONDAY', '00:00'],
    ['America/New_York', '2026-01-05T04:59:59Z', 'SUNDAY', '23:59'],
    ['UTC', '2026-01-05T00:00:00Z', 'MONDAY', '00:00'],
    // Madrid goes from 02:00 to 03:00 on 29 March, and from 03:00 back to 02:00 on 25 October.
    ['Europe/Madrid', '2026-03-29T00:59:59Z', 'SUNDAY', '01:59'],
    ['Europe/Madrid', '2026-03-29T01:00:00Z', 'SUNDAY', '03:00'],
    ['Europe/Madrid', '2026-10-25T00:30:00Z', 'SUNDAY', '02:30'],
    ['Europe/Madrid', '2026-10-25T01:30:00Z', 'SUNDAY', '02:30'],
    ['Europe/Madrid', '2026-10-25T02:00:00Z', 'SUNDAY', '03:00'],
    // New York on 8 March and 1 November.
    ['America/New_York', '2026-03-08T06:59:59Z', 'SUNDAY', '01:59'],
    ['America/New_York', '2026-03-08T07:00:00Z', 'SUNDAY', '03:00'],
    ['America/New_York', '2026-11-01T05:30:00Z', 'SUNDAY', '01:30'],
    ['America/New_York', '2026-11-01T06:30:00Z', 'SUNDAY', '01:30'],
  ] as const)('in %s %s is %s %s', ([timeZone, instant, weekday, time]) => {
    const [hour = 0, minute = 0] = time.split(':').map(Number)
    expect(localTime(new Date(instant), timeZone)).toBe(WEEKDAYS.indexOf(weekday) * 1440 + hour * 60 + minute)
  })

  test('a window keeps its hours by the clock on the wall when that is put forward or back', () => {
    const early: TimeWindow = { ...OFFICE, start: '01:30', end: '04:00', weekdays: ['SUNDAY'] }
    const halfHours = (from: string) =>
      Array.from({ length: 12 }, (_, index) => new Date(Date.parse(from) + index * 1_800_000).toISOString())
    const openFor = (from: string) => halfHours(from).filter((instant) => isOpen(early, instant)).length / 2
    expect(openFor('2026-03-22T00:00:00+01:00')).toBe(2.5)
    expect(openFor('2026-03-29T00:00:00+01:00')).toBe(1.5)
    expect(openFor('2026-10-25T00:00:00+02:00')).toBe(3.5)
  })

  test('an hour that a day leaves out never comes, and one that it has twice comes twice', () => {
    const second: TimeWindow = { ...OFFICE, start: '02:00', end: '03:00' }
    expect(isOpen(second, '2026-03-29T01:59:59+01:00')).toBe(false)
    expect(isOpen(second, '2026-03-29T03:00:00+02:00')).toBe(false)
    expect(isOpen(second, '2026-10-25T02:15:00+02:00')).toBe(true)
    expect(isOpen(second, '2026-10-25T02:15:00+01:00')).toBe(true)
  })

  test('each moment is told in each zone, in whatever order they are asked for', () => {
    const noon = Date.parse('2026-01-05T12:00:00Z')
    const moments = [0, 59_999, 60_000, -1, -86_400_000, 0, 7 * 86_400_000]
    const told = (zone: string) => moments.map((after) => localTime(new Date(noon + after), zone))
    const expected = [720, 720, 721, 719, 720 + 6 * 1440, 720, 720]
    expect(told('UTC')).toEqual(expected)
    expect(told('Asia/Kolkata')).toEqual(expected.map((minute) => minute + 330))
    for (const zone of ['UTC', 'Asia/Kolkata', 'UTC']) {
      expect(localTime(new Date(noon), zone)).toBe(zone === 'UTC' ? 720 : 1050)
    }
  })

  test('are named as IANA names them', () => {
    for (const name of ['Europe/Madrid', 'America/Argentina/Buenos_Aires', 'Asia/Kolkata', 'UTC', 'Etc/GMT+5']) {
      expect(isTimeZone(name), name).toBe(true)
    }
    const offsets = ['+01:00', '-05:00', 'UTC+1', 'Z', 'z']
    const unknown = ['', 'Local', 'Europe', 'Madrid', 'Europe/Nowhere', 'europe/madrid', '__proto__', 'undefined']
    const padded = [' Europe/Madrid', 'Europe/Madrid ', 'Europe/Madrid\n', 'Europe/Madrid\0', '\nEurope/Madrid']
    for (const name of [...offsets, ...unknown, ...padded]) expect(isTimeZone(name), name).toBe(false)
  })
})

test('a time of day is HH:MM from 00:00 to 23:59', () => {
  for (const time of ['00:00', '09:05', '19:59', '20:00', '23:59']) expect(isTimeOfDay(time), time).toBe(true)
  for (const bad of ['24:00', '23:60', '9:00', '09:0', '0900', '09:00:00', '', ' 09:00', '09:00\n', '-1:00', '٠٩:٠٠']) {
    expect(isTimeOfDay(bad), bad).toBe(false)
  }
})

describe('a window covers another', () => {
  const time = fc.constantFrom('00:00', '00:01', '06:00', '12:30', '18:00', '23:59')
  const anyWindow = fc.record({
    start: time,
    end: time,
    timeZone: fc.constant('Europe/Madrid'),
    weekdays: fc.subarray([...WEEKDAYS], { maxLength: 7 }),
  })

  test('when each of its minutes is one of the other’s', () => {
    const found = { covered: 0, not: 0 }
    fc.assert(
      fc.property(anyWindow, anyWindow, (outer, inner) => {
        const minutes = new Set(minutesOf(outer))
        const expected = minutesOf(inner).every((minute) => minutes.has(minute))
        found[expected ? 'covered' : 'not'] += 1
        expect(coversWindow(outer, inner)).toBe(expected)
      }),
      { numRuns: 600 },
    )
    expect(Math.min(found.covered, found.not)).toBeGreaterThan(3)
  })

  test('in another time zone, or when there is no other, only if it is always open', () => {
    const elsewhere = { ...OFFICE, start: '12:00', end: '12:05', timeZone: 'Europe/London' }
    const always: TimeWindow[] = [
      { ...OFFICE, start: '15:00', end: '15:00' },
      { ...OFFICE, start: '15:00', end: '15:00', weekdays: [...WEEKDAYS].reverse() },
    ]
    for (const window of always) for (const inner of [elsewhere, null]) expect(coversWindow(window, inner)).toBe(true)
    const almost: TimeWindow[] = [
      { ...OFFICE, start: '15:00', end: '14:59' },
      { ...OFFICE, start: '00:00', end: '00:00', weekdays: WEEKDAYS.slice(0, 6) },
    ]
    for (const window of almost) for (const inner of [elsewhere, null]) expect(coversWindow(window, inner)).toBe(false)
  })
})
