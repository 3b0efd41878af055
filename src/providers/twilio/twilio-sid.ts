/** Twilio's id of a message or a call: https://www.twilio.com/docs/glossary/what-is-a-sid */
export const TWILIO_SID = /^[A-Z]{2}[0-9a-f]{32}$/
