import { type Env, httpUrl, oneOf, type Rule, settingReader, TOKEN } from '../settings.ts'
import { isSet, readSecret, readSecretFile } from './environment.ts'

export interface VaultSettings {
  readonly address: string
  readonly namespace: string | undefined
  readonly mount: string
  readonly prefix: string
  readonly auth: VaultAuth
}

/** A token, or what to log in with. */
type VaultAuth = { readonly token: string } | VaultLogin

export interface VaultLogin {
  readonly mount: string
  readonly body: Record<string, string>
  /** The names of the settings that the body comes from. */
  readonly settings: string
}

const PATH: Rule<string> = {
  mustBe: 'a path of letters, digits, _, - and . separated by slashes',
  parse(text) {
    const path = text.replace(/^\/+|\/+$/g, '')
    return /^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/.test(path) ? path : undefined
  },
}

/** Reads how to reach Vault and log in. Returns undefined if a setting is missing or wrong, with a problem added for each. */
export async function readVaultSettings(
  env: Env,
  production: boolean,
  problems: string[],
  signal: AbortSignal,
): Promise<VaultSettings | undefined> {
  const before = problems.length
  const read = settingReader(env, problems)
  if (!env.VAULT_ADDR) problems.push('VAULT_ADDR: is required with SECRETS_SOURCE=vault')
  const address = read('VAULT_ADDR', httpUrl(production ? 'loopback' : 'anywhere'), '')
  const namespace = read('VAULT_NAMESPACE', PATH, undefined)
  const mount = read('VAULT_KV_MOUNT', PATH, 'secret')
  const prefix = read('VAULT_PATH_PREFIX', PATH, 'signature-router')
  const auth = await readAuthSettings(env, problems, signal)
  return problems.length > before ? undefined : { address, namespace, mount, prefix, auth }
}

async function readAuthSettings(env: Env, problems: string[], signal: AbortSignal): Promise<VaultAuth> {
  const read = settingReader(env, problems)
  const required = async (name: string, when: string) => {
    if (!isSet(env, name)) problems.push(`${name}: is required ${when}`)
    return (await readSecret(env, name, problems, signal)) ?? ''
  }
  const method = read('VAULT_AUTH', oneOf('token', 'approle', 'kubernetes'), 'token')
  const mount = read('VAULT_AUTH_MOUNT', PATH, method)
  switch (method) {
    case 'token': {
      const token = await required('VAULT_TOKEN', 'unless VAULT_AUTH names another method')
      return { token: settingReader({ VAULT_TOKEN: token }, problems)('VAULT_TOKEN', TOKEN, '') }
    }
    case 'approle': {
      const role_id = await required('VAULT_ROLE_ID', 'with VAULT_AUTH=approle')
      const secret_id = await required('VAULT_SECRET_ID', 'with VAULT_AUTH=approle')
      return { mount, body: { role_id, secret_id }, settings: 'VAULT_ROLE_ID and VAULT_SECRET_ID' }
    }
    case 'kubernetes': {
      const role = env.VAULT_KUBERNETES_ROLE ?? ''
      if (!role) problems.push('VAULT_KUBERNETES_ROLE: is required with VAULT_AUTH=kubernetes')
      const file = env.VAULT_KUBERNETES_TOKEN_FILE || '/var/run/secrets/kubernetes.io/serviceaccount/token'
      const jwt = (await readSecretFile('VAULT_KUBERNETES_TOKEN_FILE', file, problems, signal)) ?? ''
      return { mount, body: { role, jwt }, settings: 'VAULT_KUBERNETES_ROLE and VAULT_KUBERNETES_TOKEN_FILE' }
    }
  }
}
