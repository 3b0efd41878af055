/** Monday first, as ISO 8601 has it. */
export const WEEKDAYS = ['MONDAY', 'TUESDAY', 'WEDNESDAY', 'THURSDAY', 'FRIDAY', 'SATURDAY', 'SUNDAY'] as const
export type Weekday = (typeof WEEKDAYS)[number]

/** Hours of the day in a time zone. An end that isn't after its start is on the next day. */
export interface TimeWindow {
  /** HH:MM, included. */
  start: string
  /** HH:MM, not included. */
  end: string
  /** IANA name, for example "Europe/Madrid". */
  timeZone: string
  /** The days on which it begins; none means every day. */
  weekdays: Weekday[]
}

/** Minutes since Monday 00:00 by the clock on the wall. */
export type LocalTime = number

/** From the first minute to the one before the second. */
export type Interval = readonly [from: LocalTime, to: LocalTime]

const DAY = 24 * 60
const WEEK = 7 * DAY

/**
 * The minutes of the week that a window covers, in order, with gaps between them. One that runs over the end of the week
 * also covers its beginning.
 */
export function weekIntervals(window: TimeWindow): readonly Interval[] {
  const intervals = workedOut.get(window) ?? intervalsOf(window)
  workedOut.set(window, intervals)
  return intervals
}

/** Each window of a table is compared with all others. */
const workedOut = new WeakMap<TimeWindow, readonly Interval[]>()

function intervalsOf({ start, end, weekdays }: TimeWindow): Interval[] {
  const from = minuteOfDay(start)
  const length = (minuteOfDay(end) - from + DAY) % DAY || DAY
  const days = weekdays.length === 0 ? WEEKDAYS : weekdays
  const pieces = days.flatMap((day): [LocalTime, LocalTime][] => {
    const begin = WEEKDAYS.indexOf(day) * DAY + from
    const over = begin + length - WEEK
    return over > 0
      ? [
          [begin, WEEK],
          [0, over],
        ]
      : [[begin, begin + length]]
  })
  const joined: [LocalTime, LocalTime][] = []
  for (const [from, to] of pieces.toSorted(([a], [b]) => a - b)) {
    const last = joined.at(-1)
    if (last && from <= last[1]) last[1] = to
    else joined.push([from, to])
  }
  return joined
}

export function isInWindow(intervals: readonly Interval[], time: LocalTime): boolean {
  return intervals.some(([from, to]) => from <= time && time < to)
}

/**
 * True if every minute of the inner window is one of the outer's; null is all time. Windows of different time zones can't
 * be compared, unless the outer one is always open.
 */
export function coversWindow(outer: TimeWindow, inner: TimeWindow | null): boolean {
  const covered = weekIntervals(outer)
  const asked = inner?.timeZone === outer.timeZone ? weekIntervals(inner) : [[0, WEEK] as const]
  return asked.every(([from, to]) => covered.some(([begin, end]) => begin <= from && to <= end))
}

export function isTimeOfDay(text: string): boolean {
  return /^([01][0-9]|2[0-3]):[0-5][0-9]$/.test(text)
}

export function isTimeZone(name: string): boolean {
  return /^[A-Z]/.test(name) && formatOf(name) !== undefined
}

/** The time on the wall at a moment. Worked out once a minute for each time zone, as asking for it is common. */
export function localTime(at: Date, timeZone: string): LocalTime {
  const minute = Math.floor(at.getTime() / 60_000)
  const known = lastAsked.get(timeZone)
  if (known?.minute === minute) return known.time
  const parts = formatOf(timeZone)?.formatToParts(at) ?? []
  const part = (type: string) => parts.find((found) => found.type === type)?.value ?? ''
  const weekdays: readonly string[] = WEEKDAYS
  const day = weekdays.indexOf(part('weekday').toUpperCase())
  const time = day * DAY + minuteOfDay(`${part('hour')}:${part('minute')}`)
  lastAsked.set(timeZone, { minute, time })
  return time
}

const lastAsked = new Map<string, { minute: number; time: LocalTime }>()

/** Making a format costs some 50 times what using it does. By names in lower case: Intl takes any. */
const formats = new Map<string, Intl.DateTimeFormat>()

function formatOf(timeZone: string): Intl.DateTimeFormat | undefined {
  const key = timeZone.toLowerCase()
  const known = formats.get(key)
  if (known) return known
  try {
    const format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      weekday: 'long',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    })
    formats.set(key, format)
    return format
  } catch {
    return undefined
  }
}

function minuteOfDay(time: string): number {
  const [hour = 0, minute = 0] = time.split(':').map(Number)
  return hour * 60 + minute
}
