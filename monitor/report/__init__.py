"""The report about one incident: a page of HTML that needs nothing from elsewhere."""
