import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Browser, chromium } from 'playwright-core'

const CACHE = join(import.meta.dirname, '../../node_modules/.cache')
const FOLDER = join(CACHE, 'chromium')

/**
 * A headless browser, without anything installed by hand: on Linux x64 the Chromium in an npm package, with its own
 * libraries and fonts, elsewhere an installed Chrome. Undefined where neither is.
 */
export async function launchBrowser(): Promise<Browser | undefined> {
  if (process.platform === 'linux' && process.arch === 'x64') {
    await unpack()
    const env = {
      HOME: FOLDER,
      XDG_CACHE_HOME: FOLDER,
      LD_LIBRARY_PATH: join(FOLDER, 'al2023/lib'),
      FONTCONFIG_FILE: join(FOLDER, 'fonts.conf'),
    }
    return chromium.launch({ executablePath: join(FOLDER, 'chromium'), args: ['--font-render-hinting=none'], env })
  }
  return chromium.launch({ channel: 'chrome' }).catch((error: Error) => {
    if (error.message.includes("distribution 'chrome' is not found")) return undefined
    throw error
  })
}

/** Once for each `npm ci`, which empties the cache, in 2 seconds; whoever is interrupted leaves nothing that looks done. */
async function unpack(): Promise<void> {
  if (existsSync(FOLDER)) return
  await mkdir(CACHE, { recursive: true })
  const folder = await mkdtemp(`${FOLDER}-`)
  try {
    // The package unpacks into the temporary directory, and its libraries only where it believes itself on AWS Lambda.
    const env = { TMPDIR: folder, AWS_EXECUTION_ENV: 'nodejs24.x' }
    const script = `(await import('${import.meta.resolve('@sparticuz/chromium')}')).default.executablePath()`
    await promisify(execFile)(process.execPath, ['--input-type=module', '-e', `await ${script}`], { env, cwd: CACHE })
    const fonts = `<dir prefix="relative">fonts</dir><cachedir prefix="xdg">fonts-cache</cachedir>`
    await writeFile(join(folder, 'fonts.conf'), `<fontconfig>${fonts}</fontconfig>`)
    await rename(folder, FOLDER)
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    if (!existsSync(FOLDER)) throw error
  }
}
