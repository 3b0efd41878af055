import type { FailureClass } from '../../domain/delivery.ts'

/**
 * What the codes mean that Twilio's API can answer a call with: https://www.twilio.com/docs/api/errors. A block by Twilio
 * itself is about the pair, as another vendor need not share it. A code that isn't here is judged by the HTTP status.
 */
const COMMON: Readonly<Record<string, FailureClass>> = {
  HTTP_400: 'pair', // about this message, for a reason that isn't here
  10001: 'ours', // our account is not active
  10002: 'ours', // not for trial accounts
  20001: 'pair', // something in this message is wrong
  20003: 'ours', // wrong credentials
  20004: 'ours', // the method is not allowed
  20005: 'ours', // our account is not active
  20006: 'ours', // access denied
  20008: 'ours', // not with test credentials
  20403: 'ours', // forbidden
  20404: 'ours', // no such account
  20422: 'pair', // something in this message is wrong
  20429: 'transient', // too many requests at once
  20500: 'transient', // an internal error
  20503: 'transient', // not available
  20504: 'transient', // timed out inside
  21211: 'recipient', // not a valid phone number
  21212: 'ours', // our number is not valid
  21217: 'recipient', // does not appear to be a valid phone number
  21609: 'ours', // the address for receipts is not valid
}

/** The codes of the Messages API. */
export const TWILIO_MESSAGE_ERRORS: Readonly<Record<string, FailureClass>> = {
  ...COMMON,
  14107: 'pair', // too many messages between these two numbers, which no retry within its 30 seconds helps
  21264: 'ours', // our number is not verified
  21265: 'recipient', // a short code
  21266: 'pair', // our own number
  21267: 'ours', // no alphanumeric sender on trial
  21408: 'pair', // our account may not send to this region
  21601: 'ours', // not a number of our account
  21602: 'pair', // this message has no text
  21603: 'ours', // no sender
  21604: 'ours', // no recipient
  21605: 'pair', // this text is too long
  21606: 'ours', // our number can't send this
  21607: 'ours', // not the sender of a trial account
  21608: 'pair', // not verified for our trial account
  21610: 'recipient', // has replied STOP
  21611: 'ours', // our number's queue is full for hours, which no retry within seconds helps, though it comes as a 429
  21612: 'pair', // not reachable from our number
  21614: 'recipient', // not a mobile number
  21617: 'pair', // this text is too long
  21618: 'pair', // this text can't be read
  21619: 'pair', // this message has no text
  21624: 'pair', // this validity is out of range
  21635: 'recipient', // a landline
  21659: 'pair', // a short code sends to its own country only
  21660: 'ours', // the number is another account's
  21661: 'ours', // our number can't send texts
  21703: 'pair', // no sender of our messaging service reaches it
  21704: 'ours', // our messaging service has no senders
  21705: 'ours', // no such messaging service
  21910: 'ours', // our sender is of another channel
  30450: 'pair', // taken for fraud by Twilio
  63017: 'transient', // too many messages this second
  63038: 'ours', // our account's messages of this day are used up, which no retry within seconds helps, though it comes as a 429
}

/** The codes of the Calls API. */
export const TWILIO_CALL_ERRORS: Readonly<Record<string, FailureClass>> = {
  ...COMMON,
  10004: 'ours', // our account's calls at one time are used up, which no retry within seconds helps, though it may come as a 429
  12100: 'pair', // this TwiML can't be read
  13223: 'recipient', // not in the format of a phone number
  13224: 'recipient', // not supported, or not a valid number
  13225: 'pair', // blocked by Twilio
  13226: 'recipient', // an unknown country code
  13227: 'pair', // our account may not call this region
  21200: 'ours', // a parameter is wrong
  21201: 'ours', // no recipient
  21202: 'recipient', // a premium number
  21203: 'pair', // our account may not call abroad
  21205: 'ours', // no instructions
  21208: 'pair', // this time to ring is out of range
  21210: 'ours', // our number is not verified
  21213: 'ours', // no number of ours
  21214: 'recipient', // can't be reached
  21215: 'pair', // our account may not call this region
  21216: 'pair', // blocked by Twilio, as taken for fraud or for want of our customer profile
  21219: 'pair', // not verified for our trial account
}
