[[ template "further_class" (list . 6) ]]
