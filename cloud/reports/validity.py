"""What expressions do not say, in the words that stand on every report and in every answer (statistics, item 14)."""

VALIDITY = (
    "These curves describe the expressions that faces showed, not what people felt. The same inner state "
    "shows on different faces in different ways, and display rules differ between cultures and situations "
    "(Barrett et al. 2019, doi:10.1177/1529100619832930). Do not use them to judge a person."
)
