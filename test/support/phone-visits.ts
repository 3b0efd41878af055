import type { Browser, BrowserContextOptions, Page } from 'playwright-core'

/** What a browser says when the server stops or refuses. */
const GONE =
  /^Failed to load resource: (?:net::ERR_(?:CONNECTION_REFUSED|INCOMPLETE_CHUNKED_ENCODING)|the server responded with a status of 503 .*)$/

/** Looks at the page as a developer in Madrid would. */
export function visits(browser: Browser | undefined) {
  const complaints: string[] = []
  return {
    /** Opens the page and waits until it follows the changes, which it does with JavaScript. */
    async open(url: string, options: BrowserContextOptions = {}): Promise<Page> {
      const context = await browser?.newContext({ locale: 'en-GB', timezoneId: 'Europe/Madrid', ...options })
      if (!context) throw new Error('there is no browser')
      const page = await context.newPage()
      page.on('dialog', (dialog) => complaints.push(dialog.message()))
      page.on('pageerror', (error) => complaints.push(error.message))
      page.on('console', (line) => {
        if (line.type() === 'error' && !GONE.test(line.text())) complaints.push(line.text())
      })
      await page.goto(url)
      if (options.javaScriptEnabled !== false) await page.getByText('Live', { exact: true }).waitFor()
      return page
    },
    /** Closes the pages, and gives what no healthy page has: dialogs, exceptions, errors such as those of its policy. */
    async leave(): Promise<string[]> {
      await Promise.all(browser?.contexts().map((context) => context.close()) ?? [])
      return complaints.splice(0)
    },
  }
}
