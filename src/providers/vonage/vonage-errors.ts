import type { FailureClass } from '../../domain/delivery.ts'

/**
 * What the codes mean that Vonage's Messages API can answer a call with: https://developer.vonage.com/en/api-errors/messages
 * and, those with names, https://developer.vonage.com/en/api-errors. A block by Vonage itself is about the pair, as another
 * vendor need not share it. A code that isn't here is judged by the HTTP status.
 */
export const VONAGE_ERRORS: Readonly<Record<string, FailureClass>> = {
  HTTP_400: 'pair', // about this message, for a reason that isn't here
  HTTP_422: 'pair', // the same
  1000: 'transient', // throttled
  1010: 'pair', // something is missing in this message
  1020: 'pair', // something in this message is wrong
  1030: 'transient', // internal error
  1040: 'pair', // not handled, for example an unknown prefix
  1050: 'pair', // blocked by Vonage
  1060: 'ours', // our account is barred
  1070: 'ours', // our account is empty
  1080: 'ours', // our account may not use this API
  1090: 'pair', // this text is too long
  1100: 'transient', // not submitted, as a connection inside failed
  1110: 'ours', // a wrong signature
  1120: 'pair', // our sender is not accepted where the number is
  1130: 'pair', // this ttl is out of range
  1140: 'ours', // not enabled for our account
  1150: 'pair', // something in this message is wrong
  1160: 'pair', // not on our trial account's list
  1170: 'recipient', // no valid phone number
  1210: 'pair', // taken for spam
  1240: 'recipient', // an illegal number, or one that has opted out
  1241: 'pair', // too many messages to this number, which no retry within seconds helps, though it may come as a 429
  1250: 'pair', // no route for our account
  1420: 'ours', // our sender is not valid
  1430: 'recipient', // not a recipient of text messages
  throttled: 'transient', // too many calls
  unauthorized: 'ours', // wrong credentials
  'invalid-api-key': 'ours', // wrong credentials
  'low-balance': 'ours', // our account is empty
  forbidden: 'ours', // our account may not do this
  'not-found': 'ours', // no such address
  unprovisioned: 'ours', // our account may not use this API
  'account-suspended': 'ours', // our account is suspended
  'invalid-params': 'pair', // something in this message is wrong
  'invalid-json': 'pair', // this message can't be read
}
