import type { Config } from './config.ts'
import type { SignatureProvider } from './providers/provider.ts'
import { readVendors } from './providers/read-vendors.ts'
import type { ReceiptReader } from './providers/receipt-reader.ts'
import type { VendorMeans } from './providers/vendor.ts'
import { VENDORS } from './providers/vendors.ts'
import { webhookUrls } from './providers/webhook-url.ts'
import { openStandIn } from './sandbox/stand-in.ts'
import type { Secrets } from './secrets/secrets.ts'
import { settingReader } from './settings.ts'
import type { Logger } from './telemetry/logger.ts'

/** The vendors of a running service. Disposing stops the sandbox, where that stands in for them. */
export interface ConnectedVendors extends AsyncDisposable {
  /** By name. Another map after each {@link follow}, with the same names: look at each use. */
  readonly providers: ReadonlyMap<string, SignatureProvider>
  /** Another list after each {@link follow}. */
  readonly receiptReaders: readonly ReceiptReader[]
  /** Where the sandbox listens; undefined with credentials of a real vendor. */
  readonly sandboxUrl: string | undefined
  /** Calls the vendors with these secrets from now on. */
  follow(secrets: Secrets): void
}

interface Surroundings extends Pick<VendorMeans, 'clock' | 'piiKeys'> {
  /** The port that our webhooks are on. */
  httpPort: number
  log: Logger
}

/**
 * Makes the providers and receipt readers of every vendor that `config` has credentials of, or starts the sandbox in the
 * place of all when there are none. Rejects when the sandbox can't have its port.
 */
export async function connectVendors(config: Config, surroundings: Surroundings): Promise<ConnectedVendors> {
  const { httpPort, log, clock, piiKeys } = surroundings
  await using starting = new AsyncDisposableStack()
  const hasVendors = Object.keys(config.vendors).length > 0
  const sandbox = hasVendors
    ? undefined
    : starting.use(await openStandIn({ serviceHost: config.host, port: config.sandboxPort }))
  const standIns = sandbox && simulatedVendors(sandbox.settings)
  const publicUrl = publicWebhookUrl(config.publicWebhookUrl ?? sandbox?.webhookUrl, httpPort)
  const webhookUrl = publicUrl === undefined ? undefined : webhookUrls(publicUrl)

  const connect = (secrets: Secrets) => {
    const vendors = Object.values(standIns ?? secrets.vendors)
    const providers = vendors.flatMap(({ vendor, config: own }) =>
      vendor.providers(own, { timeoutMs: config.vendorTimeoutsMs[vendor.name] ?? 0, clock, piiKeys, webhookUrl }),
    )
    const receiptReaders =
      publicUrl === undefined ? [] : vendors.flatMap(({ vendor, config: own }) => vendor.receiptReaders(own, publicUrl))
    return { providers: new Map(providers.map((provider) => [provider.name, provider])), receiptReaders }
  }
  let current = connect(config)
  for (const { vendor } of Object.values(config.vendors)) {
    if (vendor.withoutWebhooks && publicUrl === undefined) log.warn(vendor.withoutWebhooks)
  }

  const running = starting.move()
  return {
    get providers() {
      return current.providers
    },
    get receiptReaders() {
      return current.receiptReaders
    },
    sandboxUrl: sandbox?.url,
    follow(secrets) {
      current = connect(secrets)
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

/** Where vendors reach our webhooks. Port 0 in `configured` stands for the port that the HTTP listener got. */
function publicWebhookUrl(configured: string | undefined, httpPort: number): string | undefined {
  return configured?.replace(/:0(?=\/|$)/, `:${httpPort}`)
}

/** The vendors that `settings` lead to: the sandbox's. */
function simulatedVendors(settings: Readonly<Record<string, string>>): Secrets['vendors'] {
  const problems: string[] = []
  const read = settingReader(settings, problems)
  const vendors = readVendors(VENDORS, { setting: read, secret: read, production: false, problems })
  if (problems.length > 0) throw new Error(problems.join('\n'))
  return vendors
}
