import type { FailureClass } from '../../domain/delivery.ts'

/**
 * What FCM's codes mean, its own (https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode) and those of all of
 * Google's APIs (https://cloud.google.com/apis/design/errors). A code that isn't here is judged by the HTTP status.
 */
export const FCM_ERRORS: Readonly<Record<string, FailureClass>> = {
  HTTP_400: 'pair', // about this message, for a reason that isn't here
  UNREGISTERED: 'recipient', // the app is gone, or has another token by now
  SENDER_ID_MISMATCH: 'pair', // the app registered with another project than our service account's
  THIRD_PARTY_AUTH_ERROR: 'ours', // the project's APNs key is wrong, which no other access token helps
  INVALID_ARGUMENT: 'pair', // something in this message is wrong
  PERMISSION_DENIED: 'ours', // our service account may not send
  NOT_FOUND: 'ours', // no such project
  FAILED_PRECONDITION: 'ours', // the API is not enabled
  UNAUTHENTICATED: 'transient', // the access token is no longer good
  QUOTA_EXCEEDED: 'transient', // too many messages
  RESOURCE_EXHAUSTED: 'transient', // too many messages
  UNAVAILABLE: 'transient', // overloaded
  INTERNAL: 'transient', // an internal error
  DEADLINE_EXCEEDED: 'transient', // timed out inside
}

/** What OAuth's codes mean that the token endpoint answers with: RFC 6749, sections 5.2 and 4.1.2.1. */
export const TOKEN_ERRORS: Readonly<Record<string, FailureClass>> = {
  invalid_grant: 'ours', // our key or account is wrong
  invalid_client: 'ours', // our account is wrong
  invalid_request: 'ours', // the request is wrong
  invalid_scope: 'ours', // the scope is wrong
  unauthorized_client: 'ours', // our account may not ask
  unsupported_grant_type: 'ours', // the grant is not supported
  access_denied: 'ours', // our account may not ask
  temporarily_unavailable: 'transient', // overloaded
  internal_failure: 'transient', // an internal error
}
