"""How good the answers of a run are, what they cost, and how two runs differ. Pure: no system outside is asked.

``cases`` brings a run's rows together by request; ``measures`` names what is measured; ``evaluation`` measures a run,
``comparison`` two; ``gates`` holds the outcome to limits; ``report`` shows it.
"""
