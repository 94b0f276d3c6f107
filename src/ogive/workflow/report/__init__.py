"""What is told of a region when it has been run: each file makes one section of the report.

The step ``report`` gathers what they need and joins them to one page (`ogive.view.document`).
"""
