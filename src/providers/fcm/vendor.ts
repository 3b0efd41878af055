import { matching } from '../../settings.ts'
import { defineVendor } from '../vendor.ts'
import { createFcmPush } from './fcm-push.ts'
import { googleCredentials, PROJECT_ID } from './google-credentials.ts'

/** A host with or without a port, as Google's own libraries take it. */
const METADATA_HOST = matching(/^[A-Za-z0-9.-]+(:\d{1,5})?$/, 'a host name or an IPv4 address, with or without a port')

export const fcm = defineVendor({
  name: 'fcm',
  title: 'Firebase',
  credentials: 'FCM_SERVICE_ACCOUNT',
  secrets: {
    account: { name: 'FCM_SERVICE_ACCOUNT', field: 'service-account', rule: googleCredentials, need: 'always' },
  },
  timeoutSetting: 'FCM_TIMEOUT_SECONDS',
  configure({ account }, { setting, url, problems }) {
    const metadataHost = setting('GCE_METADATA_HOST', METADATA_HOST, 'metadata.google.internal')
    const apiUrl = setting('FCM_API_URL', url, 'https://fcm.googleapis.com')
    const projectId = setting('FCM_PROJECT_ID', PROJECT_ID, undefined) ?? account?.projectId
    if (account?.type === 'external_account' && !projectId) {
      problems.push(
        'FCM_PROJECT_ID: is required with an external account in FCM_SERVICE_ACCOUNT, which names no project',
      )
    }
    if (!account) return undefined
    const credentials = account.type === 'metadata_server' ? { ...account, url: `http://${metadataHost}` } : account
    return { credentials, projectId, apiUrl }
  },
  providers: (config, means) => [createFcmPush({ ...config, ...means })],
  // FCM reports nothing.
  receiptReaders: () => [],
})
