import { CHANNELS, type Channel } from './challenge.ts'
import type { ChannelStep, Route, RouteMatch } from './routing.ts'
import { type TimeWindow, WEEKDAYS, type Weekday } from './time-window.ts'

/** A row as it was sent: its channels and days may be names of none. */
export type RouteDraft = Omit<Route, 'match' | 'channels'> & {
  match: Omit<RouteMatch, 'channel' | 'timeWindow'> & { channel: string | null; timeWindow: WindowDraft | null }
  channels: StepDraft[]
}
export type WindowDraft = Omit<TimeWindow, 'weekdays'> & { weekdays: string[] }
export type StepDraft = Omit<ChannelStep, 'channel'> & { channel: string }

/** True if every channel and every day that the draft names exists. */
export function isRoute(draft: RouteDraft): draft is Route {
  const { channel, timeWindow } = draft.match
  return (
    (channel === null || isChannel(channel)) &&
    draft.channels.every((step) => isChannel(step.channel)) &&
    (timeWindow?.weekdays ?? []).every(isWeekday)
  )
}

/** True if `name` is a channel. */
export function isChannel(name: string): name is Channel {
  return CHANNELS.some((channel) => channel === name)
}

/** True if `name` is a day of the week. */
export function isWeekday(name: string): name is Weekday {
  return WEEKDAYS.some((day) => day === name)
}
