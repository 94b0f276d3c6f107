"""How a catalogue of an older ogive becomes one of this."""
