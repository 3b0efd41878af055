/** The languages that there are texts in. */
export type Language = (typeof LANGUAGES)[number]
const LANGUAGES = ['en', 'es'] as const

/** The language of a locale's texts: its own, or else English. */
export function languageOf(locale: string): Language {
  const { language } = new Intl.Locale(locale)
  return LANGUAGES.find((known) => known === language) ?? 'en'
}
